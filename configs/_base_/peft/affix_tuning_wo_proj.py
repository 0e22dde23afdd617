# Three affixes per scan: 221,184 parameters on Vim-S.
adapters = [dict(type='AffixTuning', num_tokens=3, project=False)]
