adapter_settings = dict(rank=16, scale=1.0)
custom_imports = dict(
    imports=[
        'memba_vision',
    ]
)
data_preprocessor = dict(
    mean=[
        123.675,
        116.28,
        103.53,
    ],
    std=[
        58.395,
        57.12,
        57.375,
    ],
    to_rgb=True,
)
default_hooks = dict(
    checkpoint=dict(
        backend_args=dict(backend='atomic'), interval=1, max_keep_ckpts=2, type='LateRemovalHook'
    ),
    epoch_seed=dict(type='EpochSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
    kernel_report=dict(type='KernelReportHook'),
    logger=dict(interval=1000, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    parameter_report=dict(type='ParameterReportHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    sync_buffers=dict(type='SyncBuffersHook'),
    termination=dict(type='TerminationHook'),
    timer=dict(type='IterTimerHook'),
)
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
launcher = 'none'
load_from = None
log_level = 'INFO'
model = dict(
    backbone=dict(
        drop_rate=0.1,
        module=dict(
            arch=dict(embed_dims=16, num_layers=2),
            img_size=48,
            init_cfg=dict(checkpoint='base.safetensors', type='Pretrained'),
            patch_size=8,
            type='Vim',
        ),
        rank=2,
        scale=1.0,
        type='MembaModel',
    ),
    head=dict(
        in_channels=16, loss=dict(type='CrossEntropyLoss'), num_classes=10, type='LinearClsHead'
    ),
    neck=dict(input_features=16, type='FeatureNorm'),
    type='ImageClassifier',
)
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    constructor='TrainableOptimWrapperConstructor',
    optimizer=dict(
        betas=(
            0.9,
            0.999,
        ),
        lr=0.003,
        type='AdamW',
        weight_decay=0.0001,
    ),
)
param_scheduler = [
    dict(convert_to_iter_based=True, end=1, start_factor=0.001, type='LinearLR'),
    dict(begin=1, convert_to_iter_based=True, eta_min=1e-05, type='CosineAnnealingLR'),
]
pipeline = [
    dict(imdecode_backend='pillow', type='LoadImageFromFile'),
    dict(
        backend='pillow',
        interpolation='bicubic',
        scale=(
            48,
            48,
        ),
        type='Resize',
    ),
    dict(type='PackInputs'),
]
randomness = dict(deterministic=False, seed=0)
resume = False
task = 'digits'
test_cfg = dict()
test_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='data',
        pipeline=[
            dict(imdecode_backend='pillow', type='LoadImageFromFile'),
            dict(
                backend='pillow',
                interpolation='bicubic',
                scale=(
                    48,
                    48,
                ),
                type='Resize',
            ),
            dict(type='PackInputs'),
        ],
        split='test',
        task='digits',
        test_mode=True,
        type='MiniVTAB',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(topk=(1,), type='Accuracy')
train_cfg = dict(by_epoch=True, max_epochs=2)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root='data',
        pipeline=[
            dict(imdecode_backend='pillow', type='LoadImageFromFile'),
            dict(
                backend='pillow',
                interpolation='bicubic',
                scale=(
                    48,
                    48,
                ),
                type='Resize',
            ),
            dict(type='PackInputs'),
        ],
        split='train800val200',
        task='digits',
        type='MiniVTAB',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'),
)
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    type='UniversalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
work_dir = 'runs/memba'
