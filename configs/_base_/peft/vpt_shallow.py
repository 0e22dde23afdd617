about = dict(
    name='VPT-Shallow',
    source='Jia et al. 2022, section 3.2',
    formula='first block gets `[p₁…p₁₀, tokens]`, prompts leave after the last',
    parameters=dict(vim_small=3_840, vit_base=7_680),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='VPT', num_tokens=10, deep=False, drop_rate=0.1)]
