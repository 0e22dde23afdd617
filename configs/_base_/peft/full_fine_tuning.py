about = dict(
    name='full fine-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='all weights train',
    parameters=dict(vim_small=25_411_584),
    published=dict(
        vim_small=dict(
            thousands=25450, natural=59.35, specialized=68.74, structured=34.39, average=47.08
        )
    ),
    note='as printed; the mean that follows from the printed groups is 50.82',
)
adapters = [dict(type='PartialTuning', patterns=['*'])]
