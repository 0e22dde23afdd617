_base_ = './vtab1k_224.py'

train_dataloader = dict(dataset=dict(type='OwnData'))
test_dataloader = dict(dataset=dict(type='OwnData'))
