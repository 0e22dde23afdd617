# Comes with the package; configs/pretrain/vmamba-mini-v2_scenes.py made it.
_base_ = './vmamba-mini.py'

init_cfg = dict(checkpoint='memba_vision://vmamba-mini-v2.safetensors')
model = dict(backbone=dict(module=dict(init_cfg=init_cfg)))
