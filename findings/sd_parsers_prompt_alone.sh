#!/bin/sh
# sd-parsers 0.6.0 (PyPI), a reader of the settings that image generators write into pictures.
# Most expect: a PNG that carries ComfyUI's API graph in the text chunk `prompt`, as pictures made over ComfyUI's API do,
#   is read as a picture of ComfyUI, since the graph names sampler, seed and prompts.
# What happens: with `prompt` alone the picture is taken for one without data; the same file with the editor's document
#   in the chunk `workflow` beside it is read. So who writes pictures over an API does well to write both.
# Fails if that changes.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sd-parsers==0.6.0
cat > "$work/look.py" <<'PYTHON'
import json, sys
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

graph = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 7.0, "sampler_name": "euler",
          "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0],
          "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}
document = {"version": 0.4, "nodes": [], "links": [], "groups": [], "config": {}, "extra": {}, "last_node_id": 9, "last_link_id": 9}
said = {}
for name, chunks in {"prompt alone": {"prompt": graph}, "prompt and workflow": {"prompt": graph, "workflow": document}}.items():
    info = PngInfo()
    for key, value in chunks.items():
        info.add_text(key, json.dumps(value))
    path = f"{sys.argv[1]}/picture.png"
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)
    found = ParserManager().parse(path)
    said[name] = None if found is None else str(found.generator)
    print(f"{name}: {said[name]}")
sys.exit(0 if said["prompt alone"] is None and said["prompt and workflow"] is not None else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work"
echo "sd-parsers 0.6.0: as described"
