_base_ = './mamba-vision-tiny.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='base',
            drop_path_rate=0.3,
            init_cfg=dict(checkpoint=url_of('mamba_vision_base')),
        )
    ),
    head=dict(in_channels=1024),
)
