# A ReLU bottleneck beside out_proj: 663,552 parameters on Vim-S.
adapters = [dict(type='ParallelAdapter', targets=['out_proj'], rank=24, scale=0.1, drop_rate=0.1)]
