# The weights: https://huggingface.co/hustvl/Vim-tiny-midclstok (downloaded once, then kept).
_base_ = './vim-small.py'

model = dict(
    backbone=dict(
        module=dict(
            arch='tiny',
            init_cfg=dict(
                checkpoint='https://huggingface.co/hustvl/Vim-tiny-midclstok/resolve/main/'
                'vim_t_midclstok_76p1acc.pth'
            ),
        )
    ),
    head=dict(in_channels=192),
)
