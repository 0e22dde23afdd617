_base_ = './vim-mini.py'

lora = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=16, scale=1.0, drop_rate=0.1)
model = dict(backbone=dict(type='PEFTModel', adapters=[lora]))
