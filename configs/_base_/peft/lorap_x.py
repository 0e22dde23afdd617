# LoRA on the half of in_proj that makes x: 1,769,472 parameters on Vim-S.
adapters = [dict(type='PartialLoRA', part='x', rank=64, scale=0.1, drop_rate=0.1)]
