about = dict(
    name='Memba: LIM alone',
    source='Memba (ICLR 2026)',
    formula='`silu(LIM(z))` as gate',
    parameters=dict(vim_small=0),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='LIM', site='gate', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True)]
