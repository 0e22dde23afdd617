# LoRA on the patch embedding: 36,864 parameters on Vim-S.
adapters = [dict(type='LoRA', targets=['patch_embed.proj'], rank=32, scale=0.1, drop_rate=0.1)]
