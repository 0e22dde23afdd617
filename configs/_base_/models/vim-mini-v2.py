_base_ = './vim-mini.py'

init_cfg = dict(checkpoint='memba_vision://vim-mini.safetensors')
model = dict(backbone=dict(module=dict(init_cfg=init_cfg)))
