"""Small backbones, for images of 32 pixels, on which the contract tests try every method."""

BACKBONES = {
    'vim': dict(
        type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8
    ),
    'vit': dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
    ),
    'swin': dict(
        type='SwinTransformer',
        arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]),
        img_size=32,
        window_size=4,
        out_indices=(1,),
    ),
    'timm-vit': dict(type='TimmModel', model_name='test_vit', img_size=32),
}
