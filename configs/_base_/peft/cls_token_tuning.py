about = dict(
    name='CLS-token-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the class token trains',
    parameters=dict(vim_small=384),
    published=dict(
        vim_small=dict(thousands=9, natural=62.5, specialized=77.2, structured=32.2, average=52.84)
    ),
)
adapters = [dict(type='PartialTuning', patterns=['cls_token'])]
