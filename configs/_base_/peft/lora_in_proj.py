# LoRA on in_proj: 1,474,560 parameters on Vim-S.
adapters = [dict(type='LoRA', targets=['in_proj'], rank=32, scale=0.1, drop_rate=0.1)]
