# Ablation of Memba: an LSTM in LIM's place, 6,316,032 parameters on Vim-S.
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='RecurrentGate', cell='lstm'),
]
