about = dict(
    name='GPS',
    source='Zhang et al. 2024, section 3',
    formula='every projection: `(W + S) h + b`; of each row of `S` that entry trains which has the '
    'largest gradient of a contrastive loss, and `b`',
    parameters=dict(vim_small=123_264, vit_base=167_424),
    published_on_vit=75.18,
    note='chosen by the training images',
)
adapters = [dict(type='GPS', targets=['all_proj'], k=1)]
