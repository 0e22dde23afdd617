about = dict(
    name='SPT-LoRA',
    source='He et al. 2023, section 3',
    formula='projections: LoRA 8 where many of the weights with the largest squared gradients are, '
    "elsewhere `(W + S) h + b` with these entries of `S`; 45 % of LoRA's count at most",
    parameters=dict(vim_small=541_005, vit_base=525_673),
    note='chosen by the training images, at most',
)
adapters = [
    dict(type='SPTLoRA', targets=['all_proj'], lora_share=0.45, rank=8, scale=1.0, drop_rate=0.0)
]
