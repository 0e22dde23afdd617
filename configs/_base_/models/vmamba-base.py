_base_ = './vmamba-small.py'

model = dict(
    backbone=dict(
        module=dict(
            arch='base_s2l15',
            drop_path_rate=0.6,
            init_cfg=dict(
                checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/'
                'vssm_base_0229_ckpt_epoch_237.pth'
            ),
        )
    ),
    head=dict(in_channels=1024),
)
