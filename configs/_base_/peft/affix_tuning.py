about = dict(
    name='Affix-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='each scan runs over `[a₁ a₂ a₃, x]`, `a = V tanh(U e + b) + c`, '
    '`U`, `b`, `e` shared by all scans',
    parameters=dict(vim_small=115_685_376),
    published=dict(
        vim_small=dict(
            thousands=117000, natural=75.84, specialized=83.29, structured=58.94, average=70.29
        )
    ),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='AffixTuning', num_tokens=3, project=True)]
