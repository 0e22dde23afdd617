"""Models and methods by name."""
