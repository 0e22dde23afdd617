# The convolutions of both directions: 147,456 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['conv1d.weight', 'conv1d_b.weight'])]
