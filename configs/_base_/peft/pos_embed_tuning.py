# The position embedding: 75,648 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['pos_embed'])]
