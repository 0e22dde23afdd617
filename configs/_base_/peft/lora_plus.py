about = dict(
    name='LoRA+',
    source='Hayou et al. 2024, section 4',
    formula='in_proj, out_proj: LoRA 64, `up` at 16 times the learning rate',
    parameters=dict(vim_small=4_718_592, vit_base=442_368),
)
adapters = [
    dict(
        type='LoRA',
        targets=['in_proj', 'out_proj'],
        rank=64,
        scale=0.1,
        drop_rate=0.1,
        up_lr_factor=16.0,
    )
]
