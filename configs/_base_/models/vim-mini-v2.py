# A small Vim that comes with the package; configs/pretrain/vim-mini-v2_scenes.py made it.
_base_ = './vim-mini.py'

init_cfg = dict(checkpoint='memba_vision://vim-mini-v2.safetensors')
model = dict(backbone=dict(module=dict(init_cfg=init_cfg)))
