# Six more dimensions of the state: 663,552 parameters on Vim-S.
adapters = [dict(type='AdditionalScan', num_states=6)]
