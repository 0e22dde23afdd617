# Makes memba_vision/pretrained/vmamba-mini-v2.safetensors, as vim-mini-v2_scenes.py makes that of
# the small Vim.
_base_ = './vim-mini-v2_scenes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VMamba',
        arch=dict(embed_dims=24, depths=(1, 2, 4), ssm_ratio=1, d_state=1),
        img_size=48,
        out_type='avg_featmap',
    )
)
