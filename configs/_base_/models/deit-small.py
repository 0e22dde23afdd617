# The weights of the authors of DeiT: ImageNet-1k, https://github.com/facebookresearch/deit
# (downloaded once, then kept). With a copy on disk:
# --cfg-options model.backbone.module.init_cfg.checkpoint=PATH
model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='VisionTransformer',
            arch='deit-small',
            img_size=224,
            patch_size=16,
            drop_path_rate=0.1,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://dl.fbaipublicfiles.com/deit/deit_small_patch16_224-cd65a155.pth',
            ),
        )
    ),
    head=dict(type='LinearClsHead', in_channels=384, loss=dict(type='CrossEntropyLoss')),
)

# What a preset's adapters get in place of the settings for Vim-S: the bottleneck that is usual on
# transformers.
adapter_settings = dict(rank=8, scale=1.0)

# The recipe of papers on adapting ViT-B/16 (NOAH, FacT, Convpass): as MambaPEFT's, with batches of
# 64 images and without a limit on gradients.
recipe = dict(
    optim_wrapper=dict(clip_grad=None),
    auto_scale_lr=dict(base_batch_size=64),
    train_dataloader=dict(batch_size=64),
)
