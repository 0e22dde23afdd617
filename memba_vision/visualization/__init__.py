"""Maps, figures and a page of a model's membranes on an image."""
