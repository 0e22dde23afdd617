_base_ = './vtab1k_100e.py'

# A fifth of the epochs, so at a higher rate. A method for which validation data chose a rate of its
# own has that (docs/mini_vtab.md).
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=20)
