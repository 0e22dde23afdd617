"""Search for settings and combinations of adapters, with Optuna, on the validation split."""

#: Names of the pruners, which end bad trials early.
PRUNERS = ('median', 'hyperband', 'none')
