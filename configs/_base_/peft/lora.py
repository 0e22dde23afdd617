about = dict(
    name='LoRA(in+out proj), Memba without LIM',
    source='Memba (ICLR 2026)',
    formula='Memba without LIM: LoRA 64 on in_proj and out_proj',
    parameters=dict(vim_small=4_718_592),
)
adapters = [dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1)]
