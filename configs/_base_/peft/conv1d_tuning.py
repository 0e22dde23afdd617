about = dict(
    name='Conv1d-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='`conv1d.weight` trains',
    parameters=dict(vim_small=147_456),
    published=dict(
        vim_small=dict(
            thousands=156, natural=74.33, specialized=82.45, structured=57.83, average=69.09
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['conv1d.weight', 'conv1d_b.weight'])]
