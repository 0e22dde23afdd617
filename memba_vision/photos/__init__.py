"""From a folder of photos to an adapted model, and a page that shows how good it is."""
