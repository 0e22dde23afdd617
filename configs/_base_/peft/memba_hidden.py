about = dict(
    name='Memba variant: membrane inside LoRA',
    source='this package',
    formula='in_proj: `W h + s up(LIM(down h))`, mean of both directions; LoRA 64 on out_proj',
    parameters=dict(vim_small=4_718_592),
    note='for backbones without a gate',
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='HiddenLIM', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
]
