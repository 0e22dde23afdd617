# LoRA on x_proj, both directions: 2,531,328 parameters on Vim-S.
adapters = [dict(type='LoRA', targets=['x_proj', 'x_proj_b'], rank=64, scale=0.1, drop_rate=0.1)]
