about = dict(
    name='LoRAp(C)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the rows of x_proj that make C: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=2_408_448),
    published=dict(
        vim_small=dict(
            thousands=2417, natural=72.78, specialized=81.57, structured=51.35, average=65.61
        )
    ),
)
adapters = [dict(type='PartialLoRA', part='C', rank=64, scale=0.1, drop_rate=0.1)]
