"""Old names of modules, for code that imports them."""
