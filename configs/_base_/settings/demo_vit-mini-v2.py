# Settings of each method on mini-VTAB 2 with vit-mini-v2: of those that were tried the best mean
# of top-1 on val200, over 4 tasks and 1 seed(s). Written by tools/report.py --choose.
method_settings = {
    # 75.88 %
    'full_fine_tuning': {'optim_wrapper.optimizer.lr': 0.0003},
    # 51.62 %
    'linear_probing': {'optim_wrapper.optimizer.lr': 0.01},
    # 78.25 %
    'lora': {'optim_wrapper.optimizer.lr': 0.003},
    # 76.62 %
    'memba_hidden_no_transfer': {'optim_wrapper.optimizer.lr': 0.01},
}
