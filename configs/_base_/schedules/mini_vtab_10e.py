# For mini-VTAB 2: so that a method's nine tasks take minutes. Rates are chosen by validation.
_base_ = './mini_vtab_20e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)
