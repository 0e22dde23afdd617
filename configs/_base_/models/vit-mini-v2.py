# Comes with the package; configs/pretrain/vit-mini-v2_scenes.py made it.
_base_ = './vit-mini.py'

init_cfg = dict(checkpoint='memba_vision://vit-mini-v2.safetensors')
model = dict(backbone=dict(module=dict(init_cfg=init_cfg)))
