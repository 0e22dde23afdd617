"""What the command-line tools do, as functions."""
