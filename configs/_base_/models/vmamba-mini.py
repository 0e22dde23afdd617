# A small VMamba that comes with the package; configs/pretrain/vmamba-mini_shapes.py made it.
_base_ = './vim-mini.py'

model = dict(
    backbone=dict(
        module=dict(
            _delete_=True,
            type='VMamba',
            arch=dict(embed_dims=24, depths=(1, 2, 4), ssm_ratio=1, d_state=1),
            img_size=48,
            init_cfg=dict(type='Pretrained', checkpoint='memba_vision://vmamba-mini.safetensors'),
        )
    )
)
