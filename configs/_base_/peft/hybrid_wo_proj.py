# The combination that MambaPEFT's published search goes on with, without the projection. The ranks
# that the search found are not published; these are those it starts from.
adapters = [
    dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=8, scale=0.1, drop_rate=0.1),
    dict(type='PartialLoRA', part='x', rank=8, scale=0.1, drop_rate=0.1),
    dict(type='PartialLoRA', part='B', rank=4, scale=0.1, drop_rate=0.1),
    dict(type='LoRA', targets=['dt_proj', 'dt_proj_b'], rank=4, scale=0.1, drop_rate=0.1),
    dict(type='PartialTuning', patterns=['A_log', 'A_b_log', 'cls_token']),
    dict(type='AffixTuning', num_tokens=3, project=False),
]
