_base_ = './mini_vtab_48.py'

train_dataloader = dict(dataset=dict(type='OwnData'))
test_dataloader = dict(dataset=dict(type='OwnData'))
