about = dict(
    name='Memba (in+out proj)',
    source='Memba (ICLR 2026)',
    formula='`silu(W_z h + s up_z(LIM(down h)))` as gate, LoRA 64 on x and out_proj',
    parameters=dict(vim_small=4_718_592),
    published=dict(
        vim_small=dict(
            thousands=4718, natural=77.07, specialized=85.66, structured=61.7, average=72.4
        )
    ),
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='LIM', site='lora', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
]
