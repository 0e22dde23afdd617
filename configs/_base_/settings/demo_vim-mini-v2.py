# Settings of each method on mini-VTAB 2 with vim-mini-v2: of those that were tried the best mean
# of top-1 on val200, over 3 tasks and 1 seed(s). Written by tools/report.py --choose.
method_settings = {
    # 69.33 %
    'full_fine_tuning': {'optim_wrapper.optimizer.lr': 0.001},
    # 51.67 %
    'linear_probing': {'optim_wrapper.optimizer.lr': 0.01},
    # 65.33 %
    'lora': {'optim_wrapper.optimizer.lr': 0.003},
    # 65.50 %
    'memba': {'optim_wrapper.optimizer.lr': 0.01},
    # 23.67 %
    'scratch': {'optim_wrapper.optimizer.lr': 0.003},
}
