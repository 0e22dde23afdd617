about = dict(
    name='ProDiaL',
    source='Ham et al. 2025, section 4',
    formula='in_proj, out_proj: `diag(r) W (I + P) h + s up(down h)`, P diagonal, rank 8',
    parameters=dict(vim_small=663_552),
)
adapters = [dict(type='ProDiaL', targets=['in_proj', 'out_proj'], rank=8, scale=1.0, drop_rate=0.1)]
