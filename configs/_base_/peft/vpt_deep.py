about = dict(
    name='VPT-Deep',
    source='Jia et al. 2022, section 3.2',
    formula='every block gets `[p₁…p₁₀, tokens]`, with prompts of its own',
    parameters=dict(vim_small=92_160, vit_base=92_160),
    published_on_vit=69.43,
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='VPT', num_tokens=10, deep=True, drop_rate=0.1)]
