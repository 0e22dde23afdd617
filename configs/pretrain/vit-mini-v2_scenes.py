# Makes memba_vision/pretrained/vit-mini-v2.safetensors, as vim-mini-v2_scenes.py makes that of the
# small Vim.
_base_ = './vim-mini-v2_scenes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    )
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
