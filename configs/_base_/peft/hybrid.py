# The combination that MambaPEFT's published search goes on with. The ranks
# that the search found are not published; these are those it starts from.
about = dict(
    name='Hybrid (w/ proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='LoRA on in_proj, out_proj, dt_proj, x and B; A, class token; projected affixes',
    parameters=dict(vim_small=117_389_184),
    published=dict(
        vim_small=dict(
            thousands=117236, natural=77.0, specialized=84.41, structured=61.55, average=72.05
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
    dict(type='AffixTuning', num_tokens=3, project=True),
]
