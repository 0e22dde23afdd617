about = dict(
    name='LoRA(q, v)',
    source='Hu et al. 2022',
    formula='queries and values of attention: `W h + s up(down h)`, rank 8',
    parameters=dict(deit_small=147_456, vit_base=294_912, swin_tiny=141_312, swin_base=385_024),
    note='the usual LoRA on transformers',
)
adapters = [dict(type='LoRA', targets=['attn.q', 'attn.v'], rank=8, scale=1.0, drop_rate=0.0)]
