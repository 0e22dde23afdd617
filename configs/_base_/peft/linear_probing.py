about = dict(
    name='linear probing',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the head alone',
    parameters=dict(vim_small=0),
    published=dict(
        vim_small=dict(
            thousands=9, natural=62.5, specialized=77.25, structured=31.97, average=52.75
        )
    ),
)
adapters = []
