_base_ = './vmamba-small-s2l15.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='small_s1l20',
            init_cfg=dict(checkpoint=url_of('vmamba_small_s1l20')),
        )
    ),
)
