# LoRA on the half of in_proj that makes z: 1,769,472 parameters on Vim-S.
adapters = [dict(type='PartialLoRA', part='z', rank=64, scale=0.1, drop_rate=0.1)]
