_base_ = './mamba-reg-small.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='large',
            init_cfg=dict(checkpoint=url_of('mamba_reg_large')),
        )
    ),
    head=dict(in_channels=2048),
)
