# The weights: Swin's authors', ImageNet-22k, https://github.com/microsoft/Swin-Transformer
# (downloaded once, then kept).
_base_ = './swin-tiny.py'

model = dict(
    backbone=dict(
        module=dict(
            arch='base',
            init_cfg=dict(
                checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
                'swin_base_patch4_window7_224_22k.pth'
            ),
        )
    ),
    head=dict(in_channels=1024),
)
