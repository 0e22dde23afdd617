_base_ = [
    '../_base_/models/vit-base_lora.py',
    '../_base_/datasets/vtab1k_224_batch64.py',
    '../_base_/schedules/vtab1k_transformers_100e.py',
]
from memba_vision.datasets.tasks import num_classes

task = 'cifar100'
model = dict(head=dict(num_classes=num_classes(task)))
train_dataloader = dict(dataset=dict(task=task))
test_dataloader = dict(dataset=dict(task=task))
