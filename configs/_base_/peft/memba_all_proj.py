about = dict(
    name='Memba: LoRA on x_proj and dt_proj too',
    source='Memba (ICLR 2026)',
    formula='Memba, LoRA 64 on x_proj and dt_proj too',
    parameters=dict(vim_small=9_682_944),
    merges=False,
)
targets = ['in_proj', 'out_proj', 'x_proj', 'x_proj_b', 'dt_proj', 'dt_proj_b']
adapters = [
    dict(type='LoRA', targets=targets, rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='lora', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
]
