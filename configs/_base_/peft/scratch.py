about = dict(
    name='scratch',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='all weights train, from random ones',
    parameters=dict(vim_small=25_411_584),
    published=dict(
        vim_small=dict(
            thousands=25450, natural=8.33, specialized=49.87, structured=28.16, average=25.42
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['*'])]
module = dict(init_cfg=dict(checkpoint=None))
