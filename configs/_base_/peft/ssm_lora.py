# SSMLoRA on out_proj of every second block: 983,040 parameters on Vim-S.
adapters = [dict(type='SSMLoRA', rank=64, scale=0.1, drop_rate=0.1, every=2)]
