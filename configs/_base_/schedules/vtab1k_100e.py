# The recipe of MambaPEFT (Yoshimura et al. 2025), which Memba builds on.
_base_ = '../default_runtime.py'

optim_wrapper = dict(
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=10, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
test_cfg = dict()

# A crash costs ten epochs or five minutes at most; writing more often would cost every run.
default_hooks = dict(checkpoint=dict(interval=10))

# Off, and where mmpretrain's --auto-scale-lr finds the batch size that the rate is for.
auto_scale_lr = dict(enable=False, base_batch_size=32)
