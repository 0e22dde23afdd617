_base_ = './mamba-vision-tiny.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='tiny2',
            init_cfg=dict(checkpoint=url_of('mamba_vision_tiny2')),
        )
    ),
)
