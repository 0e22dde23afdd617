"""Search for settings and combinations of adapters, with Optuna, on the validation split."""

#: What ends bad trials early, by the name on the command line.
PRUNERS = ('median', 'hyperband', 'none')
