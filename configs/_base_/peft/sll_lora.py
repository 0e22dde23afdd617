about = dict(
    name='SLL LoRA',
    source='Halloran et al. 2024',
    formula='in_proj, x_proj, out_proj, patch embedding: `W h + s up(down h)`, rank 8',
    parameters=dict(vim_small=915_456),
    note='layers inferred from its sizes',
)
targets = ['in_proj', 'out_proj', 'x_proj', 'x_proj_b', 'patch_embed.proj']
adapters = [dict(type='LoRA', targets=targets, rank=8, scale=1.0)]
