# The bias of the step size, both directions: 36,864 parameters on Vim-S.
adapters = [dict(type='PartialTuning', patterns=['dt_proj.bias', 'dt_proj_b.bias'])]
