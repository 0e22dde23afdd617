# Memba, the membrane on the whole gate: 4,718,592 parameters on Vim-S.
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='gate', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
]
