# LoRA on dt_proj, both directions: 2,433,024 parameters on Vim-S.
adapters = [dict(type='LoRA', targets=['dt_proj', 'dt_proj_b'], rank=64, scale=0.1, drop_rate=0.1)]
