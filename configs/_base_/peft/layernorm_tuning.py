about = dict(
    name='LayerNorm tuning',
    source='Zhao et al. 2024, section 3',
    formula='weights and biases of all norms train',
    parameters=dict(vim_small=9_600, vit_base=38_400),
)
adapters = [dict(type='PartialTuning', patterns=['norm'])]
