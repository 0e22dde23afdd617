_base_ = [
    '../_base_/models/deit-small.py',
    '../_base_/datasets/vtab1k_224.py',
    '../_base_/schedules/vtab1k_100e.py',
]
from memba_vision.datasets.tasks import num_classes

task = 'cifar100'
model = dict(
    backbone=dict(
        type='PEFTModel',
        adapters=[
            dict(type='LoRA', targets=['attn.q', 'attn.v'], rank=8, scale=1.0, drop_rate=0.0),
        ],
    ),
    head=dict(num_classes=num_classes(task)),
)
train_dataloader = dict(batch_size=64, dataset=dict(task=task))
test_dataloader = dict(dataset=dict(task=task))
optim_wrapper = dict(clip_grad=None)
auto_scale_lr = dict(base_batch_size=64)
