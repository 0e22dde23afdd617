# The weights: VMamba's authors', https://github.com/MzeroMiko/VMamba (downloaded once, then kept).
# With a copy on disk: --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='VMamba',
            arch='small_s2l15',
            img_size=224,
            drop_path_rate=0.3,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/'
                'vssm_small_0229_ckpt_epoch_222.pth',
            ),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=768, loss=dict(type='CrossEntropyLoss')),
)
