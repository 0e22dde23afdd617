"""The source of pre-training for mini-VTAB 2: scenes of glyphs and things on textured grounds."""
