about = dict(
    name='Memba variant: membrane inside LoRA, no transfer',
    source='this package',
    formula="`memba_hidden`, every block's potentials start at zero",
    parameters=dict(vim_small=4_718_592),
    note='for backbones without a gate whose blocks hand on no state',
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='HiddenLIM', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=False),
]
