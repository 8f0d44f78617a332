"""The recipe of the embedded model: drawn, captioned scenes, and the Stable Diffusion trained on them.

`python -m models.training` runs it from nothing to `models/embedded/darkroom-shapes-64.safetensors`.
"""
