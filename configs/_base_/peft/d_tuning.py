# D, both directions: 36,864 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['D', 'D_b'])]
