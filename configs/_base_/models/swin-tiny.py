# The weights: Swin's authors', ImageNet-1k, https://github.com/microsoft/Swin-Transformer
# (downloaded once, then kept).
model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='SwinTransformer',
            arch='tiny',
            img_size=224,
            drop_path_rate=0.2,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
                'swin_tiny_patch4_window7_224.pth',
            ),
        )
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=768, loss=dict(type='CrossEntropyLoss')),
)

# See deit-small.py.
adapter_settings = dict(rank=8, scale=1.0)

recipe = dict(
    optim_wrapper=dict(clip_grad=None),
    auto_scale_lr=dict(base_batch_size=64),
    train_dataloader=dict(batch_size=64),
)
