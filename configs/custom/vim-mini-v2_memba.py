# Your own images, with the small backbone that comes with the package: trains on a CPU in
# minutes. Copy this file and change the first two settings; docs/own_data.md has the whole way.
_base_ = [
    '../_base_/models/vim-mini-v2_memba.py',
    '../_base_/datasets/own_48.py',
    '../_base_/schedules/mini_vtab_20e.py',
]
from memba_vision.datasets.own_data import own_task

task = 'flowers'
data_root = 'data/own'
model = dict(head=dict(num_classes=own_task(data_root, task).num_classes))
train_dataloader = dict(dataset=dict(task=task, data_root=data_root))
test_dataloader = dict(dataset=dict(task=task, data_root=data_root))
