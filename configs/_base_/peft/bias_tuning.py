about = dict(
    name='Bias-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='`dt_proj.bias` trains',
    parameters=dict(vim_small=36_864),
    published=dict(
        vim_small=dict(
            thousands=37, natural=68.94, specialized=79.16, structured=45.05, average=61.03
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['dt_proj.bias', 'dt_proj_b.bias'])]
