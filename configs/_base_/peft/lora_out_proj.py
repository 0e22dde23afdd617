# LoRA on out_proj: 2,654,208 parameters on Vim-S.
adapters = [dict(type='LoRA', targets=['out_proj'], rank=96, scale=0.1, drop_rate=0.1)]
