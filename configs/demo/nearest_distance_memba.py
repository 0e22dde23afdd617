_base_ = [
    '../_base_/models/vim-mini-v2_memba.py',
    '../_base_/datasets/mini_vtab_48.py',
    '../_base_/schedules/mini_vtab_10e.py',
]
from memba_vision.datasets.tasks import num_classes

task = 'nearest_distance'
model = dict(head=dict(num_classes=num_classes(task)))
train_dataloader = dict(dataset=dict(task=task))
test_dataloader = dict(dataset=dict(task=task))
optim_wrapper = dict(optimizer=dict(lr=0.003))
chosen_settings = {'optim_wrapper.optimizer.lr': 0.003}
