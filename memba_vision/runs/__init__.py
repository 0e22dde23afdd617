"""One run: its config, record and checkpoints, training, test and result."""
