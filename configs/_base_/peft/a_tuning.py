# A, both directions: 589,824 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['A_log', 'A_b_log'])]
