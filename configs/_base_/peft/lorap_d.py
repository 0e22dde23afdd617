# LoRA on the rows of x_proj that make the step size: 2,433,024 parameters on Vim-S.
adapters = [dict(type='PartialLoRA', part='delta', rank=64, scale=0.1, drop_rate=0.1)]
