about = dict(
    name='SSMLoRA',
    source='Yu et al. 2025, section 3',
    formula='out_proj of every second block: `W h + s up(down h + g)`, '
    "`g = norm(g' + K g' + E down h)` with `g'` of the block before",
    parameters=dict(vim_small=983_040),
    note='on out_proj of every second block',
    merges=False,
)
adapters = [dict(type='SSMLoRA', rank=64, scale=0.1, drop_rate=0.1, every=2)]
