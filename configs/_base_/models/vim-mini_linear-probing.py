_base_ = './vim-mini.py'

model = dict(backbone=dict(type='PEFTModel', adapters=[]))
