# Training from scratch: all 25,411,584 parameters of Vim-S, from random weights.
adapters = [dict(type='PartialTuning', patterns=['*'])]
module = dict(init_cfg=dict(checkpoint=None))
