about = dict(
    name='Affix-tuning (w/o proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='each scan runs over `[a₁ a₂ a₃, x]`, the first three outputs are dropped',
    parameters=dict(vim_small=221_184, vmamba_small_s2l15=188_928, vmamba_base_s2l15=251_904),
    published=dict(
        vim_small=dict(
            thousands=230, natural=63.9, specialized=77.66, structured=34.21, average=54.3
        )
    ),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='AffixTuning', num_tokens=3, project=False)]
