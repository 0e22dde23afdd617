custom_imports = dict(imports=['memba_vision'])
default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=1000),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    # Running statistics: without it every process keeps those of its own images.
    sync_buffers=dict(type='SyncBuffersHook'),
    finite_loss=dict(type='FiniteLossHook'),
    parameter_report=dict(type='ParameterReportHook'),
    kernel_report=dict(type='KernelReportHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    termination=dict(type='TerminationHook'),
    visualization=dict(type='VisualizationHook', enable=False),
    checkpoint=dict(
        type='LateRemovalHook', interval=1, max_keep_ckpts=2, backend_args=dict(backend='atomic')
    ),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
randomness = dict(seed=0, deterministic=False)
load_from = None
resume = False
