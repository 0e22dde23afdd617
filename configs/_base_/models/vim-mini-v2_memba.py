_base_ = './vim-mini-v2.py'

model = dict(backbone=dict(type='MembaModel', rank=16, scale=1.0, drop_rate=0.1))
