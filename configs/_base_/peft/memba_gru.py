about = dict(
    name="Memba: GRU in LIM's place",
    source='Memba (ICLR 2026)',
    formula="Memba, a GRU per direction in LIM's place",
    parameters=dict(vim_small=5_916_672),
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='RecurrentGate', cell='gru'),
]
