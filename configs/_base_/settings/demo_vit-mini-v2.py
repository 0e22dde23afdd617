# Settings of each method on mini-VTAB 2 with vit-mini-v2: of those that were tried the best mean
# of top-1 on val200, over 2 tasks and 1 seed(s). Written by tools/report.py --choose.
method_settings = {
    # 88.00 %
    'full_fine_tuning': {'optim_wrapper.optimizer.lr': 0.0003},
    # 71.75 %
    'linear_probing': {'optim_wrapper.optimizer.lr': 0.003},
    # 89.75 %
    'lora': {'optim_wrapper.optimizer.lr': 0.01},
    # 91.25 %
    'memba_hidden_no_transfer': {'optim_wrapper.optimizer.lr': 0.01},
}
