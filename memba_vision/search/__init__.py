"""Search for settings and combinations of adapters, with Optuna, on the validation split."""
