"""Search for settings and combinations of adapters, with Optuna, on the validation split."""

#: Names of the pruners, which end bad trials early.
PRUNERS = ('median', 'hyperband', 'none')
#: Names of the samplers, which draw what the next trial tries: Parzen estimators, or crossing and
#: mutating the best trials so far.
SAMPLERS = ('tpe', 'evolution')
