about = dict(
    name="Memba: LSTM in LIM's place",
    source='Memba (ICLR 2026)',
    formula="Memba, an LSTM per direction in LIM's place",
    parameters=dict(vim_small=6_316_032),
    merges=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1),
    dict(type='RecurrentGate', cell='lstm'),
]
