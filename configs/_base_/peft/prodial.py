# ProDiaL on in_proj and out_proj: 663,552 parameters on Vim-S.
adapters = [dict(type='ProDiaL', targets=['in_proj', 'out_proj'], rank=8, scale=1.0, drop_rate=0.1)]
