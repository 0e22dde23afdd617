about = dict(
    name='LoRA(in_proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='in_proj: `W h + s up(down h)`, rank 32',
    parameters=dict(vim_small=1_474_560, vmamba_small_s2l15=1_511_424, vmamba_base_s2l15=503_808),
    published=dict(
        vim_small=dict(
            thousands=1483, natural=76.58, specialized=84.08, structured=60.16, average=71.25
        )
    ),
)
adapters = [dict(type='LoRA', targets=['in_proj'], rank=32, scale=0.1, drop_rate=0.1)]
