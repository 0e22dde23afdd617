# Makes the weights of the small VMamba of mini-VTAB 2, as vim-mini-v2_scenes.py makes those of the
# small Vim. Ours are those of step 4,000, at a rate of 1.4e-5; the mean loss over the last 200
# steps was 7.37; accuracy on fresh scenes was not measured.
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
train_cfg = dict(max_iters=4100)
