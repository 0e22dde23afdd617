"""What the membranes of a model do with an image, as maps, figures and a page."""
