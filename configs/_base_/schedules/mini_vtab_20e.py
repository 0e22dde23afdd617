_base_ = './vtab1k_100e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20)
default_hooks = dict(checkpoint=dict(interval=1))
