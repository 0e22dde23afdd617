# LoRA on in_proj and out_proj, which is Memba without the membrane: 4,718,592 parameters on
# Vim-S.
adapters = [dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1)]
