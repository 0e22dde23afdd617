about = dict(
    name='Additional-scan',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='six more state dimensions before the others: their A, and rows of x_proj for B, C',
    parameters=dict(vim_small=663_552, vmamba_small_s2l15=188_928, vmamba_base_s2l15=251_904),
    published=dict(
        vim_small=dict(
            thousands=672, natural=74.63, specialized=82.68, structured=56.4, average=68.65
        )
    ),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='AdditionalScan', num_states=6)]
