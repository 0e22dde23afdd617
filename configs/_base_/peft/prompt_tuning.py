about = dict(
    name='Prompt-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='first block gets `[p₁…p₄, tokens, p₅…p₈]`, `p = V tanh(U e + b) + c`',
    parameters=dict(vim_small=298_752),
    published=dict(
        vim_small=dict(
            thousands=307, natural=63.19, specialized=77.88, structured=35.82, average=54.76
        )
    ),
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='PromptTuning', num_tokens=8, project=True)]
