_base_ = [
    '../_base_/models/vim-small_memba.py',
    '../_base_/datasets/vtab1k_224.py',
    '../_base_/schedules/vtab1k_100e.py',
]
from memba_vision.datasets.tasks import num_classes

task = 'dtd'
model = dict(head=dict(num_classes=num_classes(task)))
train_dataloader = dict(dataset=dict(task=task))
test_dataloader = dict(dataset=dict(task=task))
