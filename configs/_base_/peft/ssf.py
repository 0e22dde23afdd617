about = dict(
    name='SSF',
    source='Lian et al. 2022, section 3.2',
    formula='every projection and norm: `scale ⊙ y + shift`, `shift` where there is a bias',
    parameters=dict(vim_small=132_864, vit_base=205_824),
    published_on_vit=73.10,
)
adapters = [dict(type='SSF', targets=['all_proj', 'norm'])]
