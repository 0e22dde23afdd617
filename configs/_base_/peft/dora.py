about = dict(
    name='DoRA',
    source='Liu et al. 2024, section 4',
    formula='in_proj, out_proj: `m V h / ‖V‖`, `V = W + s up down`, norms of rows, rank 64',
    parameters=dict(vim_small=4_764_672),
)
adapters = [dict(type='DoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1)]
