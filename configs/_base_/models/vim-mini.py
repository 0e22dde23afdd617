# A small Vim that comes with the package; configs/pretrain/vim-mini_shapes.py made it.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        module=dict(
            type='Vim',
            arch=dict(embed_dims=96, num_layers=6),
            img_size=48,
            patch_size=8,
            init_cfg=dict(type='Pretrained', checkpoint='memba_vision://vim-mini.safetensors'),
        )
    ),
    # Far from the images of pre-training the features hardly vary: unscaled, a head would need many
    # times the epochs, and methods that change the features little would be judged by that.
    neck=dict(type='FeatureNorm', input_features=96),
    head=dict(type='LinearClsHead', in_channels=96, loss=dict(type='CrossEntropyLoss')),
)

# What a preset's adapters get in place of the settings for Vim-S: at scale 0.1, so small a model
# and so short a run would not learn enough.
adapter_settings = dict(rank=16, scale=1.0)
