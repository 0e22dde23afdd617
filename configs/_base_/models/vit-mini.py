# A small ViT that comes with the package; configs/pretrain/vit-mini_shapes.py made it.
_base_ = './vim-mini.py'

model = dict(
    backbone=dict(
        module=dict(
            _delete_=True,
            type='VisionTransformer',
            arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
            img_size=48,
            patch_size=8,
            init_cfg=dict(type='Pretrained', checkpoint='memba_vision://vit-mini.safetensors'),
        )
    )
)
