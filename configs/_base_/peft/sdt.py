about = dict(
    name='SDT with LoRA',
    source='Galim et al. 2025, section 5',
    formula='1 % of the channels of each scan, by how far a warm-up moves them: one state in '
    'twenty of `A_log`, their columns of B and C in x_proj; out_proj: LoRA 8',
    parameters=dict(vim_small=233_856),
    note='chosen by the training images',
)
adapters = [dict(type='SDT', channels=0.01, states=0.05, rank=8, scale=1.0, drop_rate=0.1)]
