about = dict(
    name='Mona',
    source='Yin et al. 2025, section 3.3',
    formula='behind each block: `h + up(gelu(f(down(s₁ ⊙ norm(h) + s₂ ⊙ h))))`, '
    '`f` depthwise convolutions of 3, 5, 7 and a projection, rank 64',
    parameters=dict(vim_small=1_459_200, vit_base=202_752),
    note='one behind each block, where the paper has two in each block of Swin',
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [dict(type='Mona', rank=64, drop_rate=0.1)]
