# Memba on the small backbone of configs/demo and configs/custom/vim-mini-v2_memba.py.
settings = {
    'optim_wrapper.optimizer.lr': dict(low=5e-4, high=1e-2, log=True),
    'model.backbone.rank': [4, 8, 16, 32],
    'model.backbone.scale': dict(low=0.25, high=4.0, log=True),
    'model.backbone.leak': dict(low=0.5, high=1.0, step=0.05),
    'model.backbone.threshold': [0.5, 1.0, 2.0, 4.0, None],
    'model.backbone.num_chunks': [1, 2, 4, 8],
}
