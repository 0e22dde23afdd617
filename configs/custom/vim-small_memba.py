# Your own images, with Vim-S at 224 pixels and the recipe of VTAB-1k: wants a GPU. Copy this file
# and change the first two settings; docs/own_data.md has the whole way.
_base_ = [
    '../_base_/models/vim-small_memba.py',
    '../_base_/datasets/own_224.py',
    '../_base_/schedules/vtab1k_100e.py',
]
from memba_vision.datasets.own_data import own_task

task = 'flowers'
data_root = 'data/own'
model = dict(head=dict(num_classes=own_task(data_root, task).num_classes))
train_dataloader = dict(dataset=dict(task=task, data_root=data_root))
test_dataloader = dict(dataset=dict(task=task, data_root=data_root))
