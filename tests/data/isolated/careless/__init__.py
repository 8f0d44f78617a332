"""A pack that does everything wrong that a pack can do."""
import ctypes
import os
import socket
import time

import folder_paths
import comfy.utils
import torch
from server import PromptServer

RAN = 0


@PromptServer.instance.routes.get("/careless/hello")
async def hello(request):
    return None


KEPT = []
PICTURE = {"required": {"image": ("IMAGE",)}}


class Careless:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"
    CATEGORY = "careless"

    @classmethod
    def INPUT_TYPES(cls):
        return PICTURE


class Darken(Careless):
    """Changes what it is given."""

    def go(self, image):
        image.mul_(0.5)
        return (image,)


class Invert(Careless):
    def go(self, image):
        return (1 - image,)


class Keeps(Careless):
    """Keeps what it is given, as packs do that compare with the last run."""

    seen = []

    def go(self, image):
        self.seen.append(image)
        return (image,)


class Kept:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self):
        pictures = torch.cat(Keeps.seen)
        Keeps.seen.clear()
        return (pictures,)


class Does:
    """Does what `what` says."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": ("STRING", {"default": ""}), "size": ("INT", {"default": 1, "min": 0, "max": 99})},
                "hidden": {"me": "UNIQUE_ID", "prompt": "PROMPT"}}

    RETURN_TYPES = ("STRING", "INT")
    FUNCTION = "go"
    OUTPUT_NODE = True

    @classmethod
    def IS_CHANGED(cls, what, size):
        return float("nan")

    @classmethod
    def VALIDATE_INPUTS(cls, what):
        return True if what != "refused" else "that is refused"

    def go(self, what, size, me=None, prompt=None):
        global RAN
        RAN += 1
        assert prompt[me]["class_type"] == "CarelessDoes"
        answer = str(getattr(self, what)() if what else "")
        return {"ui": {"text": [answer]}, "result": (answer, RAN)}

    def crash(self):
        ctypes.string_at(0)

    def hang(self):
        time.sleep(3600)

    def wait(self):
        bar = comfy.utils.ProgressBar(10_000)
        for _ in range(10_000):
            time.sleep(0.01)
            bar.update(1)

    def net(self):
        return socket.create_connection(("127.0.0.1", 9), timeout=1)

    def host(self):
        import urllib.request

        return urllib.request.urlopen("http://localhost:9/").read()

    def outside(self):
        return open(os.environ["OUTSIDE"] if "OUTSIDE" in os.environ else folder_paths.base_path + "/darkroom.db").read()

    def spy(self):
        return open(f"/proc/{os.getppid()}/environ", "rb").read()

    def keys(self):
        return sorted(name for name in os.environ if "TOKEN" in name)

    def own(self):
        with open(os.path.join(os.path.dirname(__file__), "mine.txt"), "w") as file:
            file.write("mine")
        with open(os.path.join(folder_paths.get_output_directory(), "theirs.txt"), "w") as file:
            return file.write("1")

    def fill(self):
        KEPT.append(torch.zeros(2**30, dtype=torch.float32))

    def leak(self):
        KEPT.append(torch.ones(100 * 2**20, dtype=torch.uint8))

    def fail(self):
        raise ValueError("no luck")

    def lies(self):
        return object()

    def tell(self):
        PromptServer.instance.send_sync("careless.told", {"it": 1})


class Takes:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "go"

    def go(self, model):
        return (model,)


class Gives:
    """What it gives is no data."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("THING",)
    FUNCTION = "go"

    def go(self):
        return (object(),)


class Files:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (folder_paths.get_filename_list("checkpoints"),)}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, name):
        return {"ui": {"text": [name]}, "result": (name,)}


class Latents:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",), "which": ("BOOLEAN", {"default": True})},
                "optional": {"later": ("LATENT", {"lazy": True})}}

    RETURN_TYPES = ("LATENT", "INT")
    FUNCTION = "go"
    OUTPUT_IS_LIST = (False, True)

    def check_lazy_status(self, latent, which, later=None):
        return [] if which else ["later"]

    def go(self, latent, which, later=None):
        latent = (latent if which else later).copy()
        latent["samples"] += 1
        latent["mine"] = {"a": [1, 2.5, (3, None)], "t": torch.arange(3)}
        return latent, [1, 2, 3]


NODE_CLASS_MAPPINGS = {f"Careless{cls.__name__}": cls for cls in (Darken, Invert, Keeps, Kept, Does, Takes, Gives, Files, Latents)}
