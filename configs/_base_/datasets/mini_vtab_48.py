_base_ = './vtab1k_224.py'

pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(48, 48), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]

# The images are tiny: worker processes would cost more than they bring.
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type='MiniVTAB', pipeline=pipeline),
)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type='MiniVTAB', pipeline=pipeline),
)
