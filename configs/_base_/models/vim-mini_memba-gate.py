_base_ = './vim-mini_memba.py'

model = dict(backbone=dict(site='gate'))
