about = dict(
    name='SPT-LoRA',
    source='He et al. 2023, section 3',
    formula='projections: LoRA 8 where many of the weights with the largest squared gradients are, '
    'elsewhere `(W + S) h + b` with these entries of `S`; 0.5 % of all weights at most',
    parameters=dict(vim_small=116_871),
    note='chosen by the training images, at most',
)
adapters = [
    dict(type='SPTLoRA', targets=['all_proj'], budget=0.005, rank=8, scale=1.0, drop_rate=0.0)
]
