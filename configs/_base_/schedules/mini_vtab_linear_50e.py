# For a linear probe that is to converge: memba-vision adapt takes it. On mini-VTAB a probe trains
# for as many epochs as every other method, at a rate that validation data choose
# (docs/mini_vtab.md).
_base_ = './vtab1k_100e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=50)
