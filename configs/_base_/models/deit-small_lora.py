_base_ = './deit-small.py'

lora = dict(type='LoRA', targets=['attn.q', 'attn.v'], rank=8, scale=1.0, drop_rate=0.0)
model = dict(backbone=dict(type='PEFTModel', adapters=[lora]))
