# The weights: https://huggingface.co/hustvl/Vim-small-midclstok (downloaded once, then kept).
# With a copy on disk: --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='Vim',
            arch='small',
            img_size=224,
            patch_size=16,
            drop_path_rate=0.1,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/'
                'vim_s_midclstok_80p5acc.pth',
            ),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=384, loss=dict(type='CrossEntropyLoss')),
)
