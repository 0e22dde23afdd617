# Full fine-tuning: all 25,411,584 parameters of Vim-S, from the pre-trained weights.
adapters = [dict(type='PartialTuning', patterns=['*'])]
