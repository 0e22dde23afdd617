_base_ = './mamba-reg-small.py'
from memba_vision.zoo.official import url_of

model = dict(
    backbone=dict(
        module=dict(
            arch='base',
            init_cfg=dict(checkpoint=url_of('mamba_reg_base')),
        )
    ),
)
