about = dict(
    name='Adapter+',
    source='Steitz and Roth 2024, sections 3.2 to 3.4',
    formula='behind each block: `h + s ⊙ (up(gelu(down h + a)) + b)`, `s` learned, rank 8',
    parameters=dict(vim_small=166_080, vit_base=165_984),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='AdapterPlus', rank=8, drop_rate=0.0)]
