# The weights: https://huggingface.co/nvidia, CC-BY-NC-SA-4.0, not for commercial use (downloaded
# once, then kept). With a copy on disk:
# --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
_base_ = []
from memba_vision.zoo.official import url_of

model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='MambaVision',
            arch='tiny',
            img_size=224,
            drop_path_rate=0.2,
            init_cfg=dict(type='Pretrained', checkpoint=url_of('mamba_vision_tiny')),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=640, loss=dict(type='CrossEntropyLoss')),
)
