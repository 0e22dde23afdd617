# The combination that MambaPEFT's published search goes on with, without the projection. The ranks
# that the search found are not published; these are those it starts from.
about = dict(
    name='Hybrid (w/o proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='LoRA on in_proj, out_proj, dt_proj, x and B; A, class token; plain affixes',
    parameters=dict(vim_small=1_924_992),
    published=dict(
        vim_small=dict(
            thousands=1044, natural=76.85, specialized=84.42, structured=61.06, average=71.8
        )
    ),
    note='the ranks that were searched are not published: those the search starts from',
    merges=False,
    pretrained_at_step_0=False,
)
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=8, scale=0.1, drop_rate=0.1),
    dict(type='PartialLoRA', part='x', rank=8, scale=0.1, drop_rate=0.1),
    dict(type='PartialLoRA', part='B', rank=4, scale=0.1, drop_rate=0.1),
    dict(type='LoRA', targets=['dt_proj', 'dt_proj_b'], rank=4, scale=0.1, drop_rate=0.1),
    dict(type='PartialTuning', patterns=['A_log', 'A_b_log', 'cls_token']),
    dict(type='AffixTuning', num_tokens=3, project=False),
]
