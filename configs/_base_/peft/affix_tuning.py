# Three affixes per scan through a two-layer network: 115,685,376 parameters on Vim-S.
adapters = [dict(type='AffixTuning', num_tokens=3, project=True)]
