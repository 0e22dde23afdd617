_base_ = './vim-small.py'

model = dict(backbone=dict(type='MembaModel', rank=64, scale=0.1, drop_rate=0.1))
