about = dict(
    name='Prompt-tuning (w/o proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='first block gets `[p₁…p₄, tokens, p₅…p₈]`, prompts leave after the last',
    parameters=dict(vim_small=3_072),
    published=dict(
        vim_small=dict(
            thousands=12, natural=69.92, specialized=79.2, structured=47.75, average=62.54
        )
    ),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='PromptTuning', num_tokens=8, project=False)]
