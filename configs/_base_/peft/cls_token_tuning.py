# The class token: 384 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['cls_token'])]
