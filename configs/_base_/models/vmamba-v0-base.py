_base_ = './vmamba-small-s2l15.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='v0_base',
            drop_path_rate=0.6,
            init_cfg=dict(checkpoint=url_of('vmamba_v0_base')),
        )
    ),
    head=dict(in_channels=1024),
)

adapter_settings = dict(rank=16)
