about = dict(
    name='Memba, membrane on the gate',
    source='Memba (ICLR 2026)',
    formula='`silu(LIM(z))` as gate, LoRA 64 on in_proj and out_proj',
    parameters=dict(vim_small=4_718_592),
    note='the other reading',
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='gate', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
]
