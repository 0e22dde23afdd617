# The weights: ImageNet-21k with "AugReg" (Steiner et al. 2022), as timm has them,
# https://huggingface.co/timm/vit_base_patch16_224.augreg_in21k (downloaded once, then kept).
_base_ = './deit-small.py'

model = dict(
    # What these weights were trained on.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=True),
    backbone=dict(
        module=dict(
            arch='base',
            init_cfg=dict(
                checkpoint='https://huggingface.co/timm/vit_base_patch16_224.augreg_in21k/resolve/'
                'main/model.safetensors'
            ),
        )
    ),
    head=dict(in_channels=768),
)
