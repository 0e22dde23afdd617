_base_ = './vmamba-small-s2l15.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='v0_small',
            init_cfg=dict(checkpoint=url_of('vmamba_v0_small')),
        )
    ),
)
