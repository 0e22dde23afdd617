about = dict(
    name='GLoRA',
    source='Chavan et al. 2023, section 2',
    formula='projections of mixers and MLPs: `(W + W ⊙ A + B) h + b + b ⊙ D + E + W C`, `A`, `B`, '
    '`C` of rank 4; `C`, `D`, `E` where there is a bias',
    parameters=dict(vim_small=589_824, vit_base=3_041_664),
    note='all supports; the paper searches for their forms layer by layer',
)
adapters = [
    dict(
        type='GLoRA',
        targets=['branch_proj'],
        rank=4,
        A='lora',
        B='lora',
        C='lora',
        D='vector',
        E='vector',
    )
]
