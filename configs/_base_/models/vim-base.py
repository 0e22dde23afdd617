# The weights: https://huggingface.co/hustvl/Vim-base-midclstok (downloaded once, then kept).
_base_ = './vim-small.py'

model = dict(
    backbone=dict(
        module=dict(
            arch='base',
            init_cfg=dict(
                checkpoint='https://huggingface.co/hustvl/Vim-base-midclstok/resolve/main/'
                'vim_b_midclstok_81p9acc.pth'
            ),
        )
    ),
    head=dict(in_channels=768),
)
