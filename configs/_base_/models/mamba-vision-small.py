_base_ = './mamba-vision-tiny.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='small',
            init_cfg=dict(checkpoint=url_of('mamba_vision_small')),
        )
    ),
    head=dict(in_channels=768),
)
