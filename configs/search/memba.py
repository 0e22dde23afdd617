# Memba on Vim-S, around the published settings.
settings = {
    'optim_wrapper.optimizer.lr': dict(low=3e-4, high=3e-3, log=True),
    'model.backbone.rank': [16, 32, 64, 96],
    'model.backbone.scale': dict(low=0.05, high=1.0, log=True),
    'model.backbone.leak': dict(low=0.5, high=1.0, step=0.05),
    'model.backbone.threshold': [0.5, 1.0, 2.0, 4.0, None],
    'model.backbone.num_chunks': [1, 2, 4, 8],
}
