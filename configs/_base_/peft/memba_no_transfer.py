about = dict(
    name='Memba: no cross-layer transfer',
    source='Memba (ICLR 2026)',
    formula="Memba, every block's potentials start at zero",
    parameters=dict(vim_small=4_718_592),
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='lora', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=False),
]
