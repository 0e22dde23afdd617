# SLL LoRA (Halloran et al. 2024): LoRA on all that is linear but dt_proj, 915,456 parameters on
# Vim-S.
targets = ['in_proj', 'out_proj', 'x_proj', 'x_proj_b', 'patch_embed.proj']
adapters = [dict(type='LoRA', targets=targets, rank=8, scale=1.0)]
