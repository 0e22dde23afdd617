about = dict(
    name='BitFit',
    source='Ben Zaken et al. 2022',
    formula='all biases of the backbone, in full',
    parameters=dict(vim_small=74_112, vit_base=102_912),
)
adapters = [dict(type='PartialTuning', patterns=['*bias'])]
