"""An adapted model from a folder of photos, and a page that shows how good it is."""
