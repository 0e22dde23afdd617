about = dict(
    name='State-offset Tuning',
    source='Kang et al. 2025, section 4',
    formula='`y_t = C_t (h_t + o) + D x_t`',
    parameters=dict(vim_small=589_824),
    merges=False,
)
adapters = [dict(type='StateOffset', of='state')]
