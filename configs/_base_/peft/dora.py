# DoRA on in_proj and out_proj: 4,764,672 parameters on Vim-S.
adapters = [dict(type='DoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1)]
