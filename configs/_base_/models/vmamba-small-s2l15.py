# The weights: https://github.com/MzeroMiko/VMamba, MIT (downloaded once, then kept).
# With a copy on disk: --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
_base_ = []
from memba_vision.zoo.official import url_of

model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='VMamba',
            arch='small_s2l15',
            img_size=224,
            drop_path_rate=0.3,
            init_cfg=dict(type='Pretrained', checkpoint=url_of('vmamba_small_s2l15')),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=768, loss=dict(type='CrossEntropyLoss')),
)

# What a preset's adapters get in place of the settings for Vim-S, and what the recipe has
# otherwise: as MambaPEFT on VMamba.
adapter_settings = dict(rank=64, scale=1.0)
recipe = dict(optim_wrapper=dict(clip_grad=None))
