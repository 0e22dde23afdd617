about = dict(
    name='SVP',
    source='Yao et al. 2025, section "Selective Visual Prompting"',
    formula='before each block `x + a ⊙ silu(up down x) + b ⊙ silu(W x)` on the patches, rank 64; '
    '`W`, `b` shared by 8 blocks, `a`, `b` zero at the start',
    parameters=dict(vim_small=1_644_288, vit_base=1_348_704),
    merges=False,
)
adapters = [dict(type='SVP', rank=64, share=8)]
