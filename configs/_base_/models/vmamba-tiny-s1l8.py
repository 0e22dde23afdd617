_base_ = './vmamba-small-s2l15.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='tiny_s1l8',
            drop_path_rate=0.2,
            init_cfg=dict(checkpoint=url_of('vmamba_tiny_s1l8')),
        )
    ),
)
