# Ablation of Memba: no potential is reset.
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='lora', num_chunks=4, leak=0.9, threshold=None, cross_layer=True),
]
