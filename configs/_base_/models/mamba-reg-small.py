# The weights: https://huggingface.co/Wangf3014/Mamba-Reg (downloaded once, then kept). Its authors
# state no licence. With a copy on disk:
# --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
_base_ = []
from memba_vision.zoo.official import url_of

model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='MambaReg',
            arch='small',
            img_size=224,
            drop_path_rate=0.1,
            init_cfg=dict(type='Pretrained', checkpoint=url_of('mamba_reg_small')),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=2304, loss=dict(type='CrossEntropyLoss')),
)
