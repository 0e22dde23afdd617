# LoRA on the rows of x_proj that make C: 2,408,448 parameters on Vim-S.
adapters = [dict(type='PartialLoRA', part='C', rank=64, scale=0.1, drop_rate=0.1)]
