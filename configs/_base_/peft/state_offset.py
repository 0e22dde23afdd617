# An offset of the state's read-out: 589,824 parameters on Vim-S.
adapters = [dict(type='StateOffset', of='state')]
