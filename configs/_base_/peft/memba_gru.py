# Ablation of Memba: a GRU in LIM's place, 5,916,672 parameters on Vim-S.
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='RecurrentGate', cell='gru'),
]
