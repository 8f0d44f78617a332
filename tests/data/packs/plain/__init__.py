"""A pack as most are: classes, mappings, a relative import, files of the program's folders as choices."""
from .words import shout
import folder_paths
import comfy.utils
from comfy.model_management import get_torch_device
import torch


class Shout:
    @classmethod
    def INPUT_TYPES(s):
        return {
            "required": {
                "text": ("STRING", {"multiline": True, "default": "hello"}),
                "times": ("INT", {"default": 1, "min": 1, "max": 5, "step": 1}),
                "how": (["loud", "quiet"],),
            },
            "optional": {"suffix": ("STRING", {"default": "!"})},
            "hidden": {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO", "me": "UNIQUE_ID"},
        }

    RETURN_TYPES = ("STRING", "INT")
    RETURN_NAMES = ("words", "length")
    FUNCTION = "say"
    CATEGORY = "plain"
    DESCRIPTION = "Says it louder."

    def say(self, text, times, how, suffix="", prompt=None, extra=None, me=None):
        assert prompt[me]["class_type"] == "PlainShout"
        words = " ".join([shout(text) if how == "loud" else text] * times) + suffix
        return (words, len(words))


class Darken:
    """Changes its input in place, as packs do."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "by": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0})}}

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "run"
    CATEGORY = "plain"

    def run(self, image, by):
        bar = comfy.utils.ProgressBar(2)
        image.mul_(by)
        bar.update(1)
        assert get_torch_device().type in ("cpu", "cuda")
        bar.update(1)
        return image, image[:, :, :, 0]


class Files:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (folder_paths.get_filename_list("checkpoints"),)}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "path"
    CATEGORY = "plain"
    OUTPUT_NODE = True

    def path(self, name):
        return {"ui": {"text": [name]}, "result": (folder_paths.get_full_path("checkpoints", name),)}


class Counter:
    """An instance is kept for each node of a workflow."""

    def __init__(self):
        self.calls = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "count"
    CATEGORY = "plain"

    def count(self, seed):
        self.calls += 1
        return (self.calls,)


NODE_CLASS_MAPPINGS = {"PlainShout": Shout, "PlainDarken": Darken, "PlainFiles": Files, "PlainCounter": Counter}
NODE_DISPLAY_NAME_MAPPINGS = {"PlainShout": "Shout It"}
