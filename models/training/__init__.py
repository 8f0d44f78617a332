"""The recipe of the embedded models: a drawn, captioned world, and the networks that are trained on it.

`python -m models.training` runs it from nothing to the files in `models/embedded/`.
"""
