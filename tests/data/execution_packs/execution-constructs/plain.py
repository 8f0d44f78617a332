"""Sources, lazy inputs, inputs that nobody declared, freshness, results of output nodes."""
import torch

from .tools import ANY, variadic


class StubImage:
    @classmethod
    def INPUT_TYPES(cls):
        size = ("INT", {"default": 64, "min": 1, "max": 1024 ** 3, "step": 1})
        return {"required": {"content": (["WHITE", "BLACK", "NOISE"],), "height": size, "width": size,
                             "batch_size": ("INT", {"default": 1, "min": 1, "max": 1024})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "Testing/Stubs"

    def make(self, content, height, width, batch_size):
        shape = (batch_size, height, width, 3)
        return ({"WHITE": torch.ones, "BLACK": torch.zeros, "NOISE": torch.rand}[content](*shape),)


class StubMask:
    @classmethod
    def INPUT_TYPES(cls):
        size = ("INT", {"default": 64, "min": 1, "max": 4096})
        return {"required": {"value": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}), "height": size,
                             "width": size, "batch_size": ("INT", {"default": 1})}}

    RETURN_TYPES = ("MASK",)
    FUNCTION = "make"

    def make(self, value, height, width, batch_size):
        return (torch.ones(batch_size, height, width) * value,)


def stub(kind, default):
    class Stub:
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": (kind, {"default": default, "min": -0xFFFFFFFF, "max": 0xFFFFFFFF})}}

        RETURN_TYPES = (kind,)
        FUNCTION = "make"

        def make(self, value):
            return (value,)

    return Stub


class LazyMix:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image1": ("IMAGE", {"lazy": True}), "image2": ("IMAGE", {"lazy": True}), "mask": ("MASK",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "mix"

    def check_lazy_status(self, mask, image1, image2):
        needed = []
        if image1 is None and (mask.min() != 1.0 or mask.max() != 1.0):
            needed.append("image1")
        if image2 is None and (mask.min() != 0.0 or mask.max() != 0.0):
            needed.append("image2")
        return needed

    def mix(self, mask, image1=None, image2=None):
        if mask.min() == mask.max() == 0.0:
            return (image1,)
        if mask.min() == mask.max() == 1.0:
            return (image2,)
        weight = mask.unsqueeze(-1) if mask.dim() == 3 else mask.unsqueeze(0).unsqueeze(-1)
        return (image1 * (1.0 - weight) + image2 * weight,)


@variadic
class VariadicAverage:
    VARIADIC = "IMAGE"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "average"

    def average(self, input1, **kwargs):
        images = [input1, *(kwargs[name] for name in sorted(kwargs))]
        return (torch.stack(images, dim=0).mean(dim=0),)


class CustomIsChanged:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}, "optional": {"should_change": ("BOOL", {"default": False})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, should_change=False, *args, **kwargs):
        return float("NaN") if should_change else False

    def go(self, image, should_change=False):
        return (image,)


class ChangedByConstants:
    """Its fingerprint is called with constants alone: of links there is nothing to see."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "value": ("FLOAT", {"default": 1.0})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, image, value):
        return value if image is None else image.mean().item()

    def go(self, image, value):
        return (image * value,)


class FailingIsChanged:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, image):
        return image.shape  # of None

    def go(self, image):
        return (image,)


class UniqueId:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})},
                "hidden": {"me": "UNIQUE_ID", "prompt": "PROMPT", "info": "EXTRA_PNGINFO", "dyn": "DYNPROMPT"}}

    RETURN_TYPES = ("STRING", "INT")
    FUNCTION = "go"

    def go(self, value, me, prompt, info, dyn):
        assert dyn.get_node(me)["class_type"] == prompt[me]["class_type"] == "ExUniqueId"
        assert dyn.has_node(me) and not dyn.has_node("nobody") and me in dyn.all_node_ids()
        assert dyn.get_display_node_id(me) == dyn.get_real_node_id(me) == me and dyn.get_parent_node_id(me) is None
        return (f"{me}:{value}:{(info or {}).get('workflow', {}).get('name', '')}", value)


class NotIdempotent:
    count = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}}

    NOT_IDEMPOTENT = True
    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, value):
        NotIdempotent.count += 1
        return (NotIdempotent.count,)


class Instance:
    """Its object is kept as long as workflows have the node."""

    def __init__(self):
        self.runs = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, seed):
        self.runs += 1
        return (self.runs,)


class OutputWithSocket:
    """An output node that others read from."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "value": ("FLOAT", {"default": 1.0})}}

    RETURN_TYPES = ("FLOAT", "IMAGE")
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, image, value):
        return {"ui": {"value": [value]}, "result": (image.mean().item() * value, image)}


class Show:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, value):
        text = f"{list(value.shape)} {value.mean().item():.4f}" if isinstance(value, torch.Tensor) else repr(value)
        return {"ui": {"text": (text,)}, "result": (value,)}


class Nothing:
    """Returns nothing, as some do."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = ()
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, value):
        return {}


class SyncError:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, value):
        raise RuntimeError("Intentional sync execution error for testing")


def core_subclass():
    import nodes

    class SaveTwice(nodes.SaveImage):
        @classmethod
        def INPUT_TYPES(cls):
            types = super().INPUT_TYPES()
            types["required"]["times"] = ("INT", {"default": 2})
            return types

        FUNCTION = "twice"
        RETURN_TYPES = ("IMAGE",)

        def twice(self, images, times, filename_prefix="twice", prompt=None, extra_pnginfo=None):
            shown = [self.save_images(images, filename_prefix, prompt, extra_pnginfo)["ui"]["images"] for _ in range(times)]
            return {"ui": {"images": sum(shown, [])}, "result": (images,)}

    return SaveTwice


NODE_CLASS_MAPPINGS = {
    "ExStubImage": StubImage, "ExStubMask": StubMask, "ExStubInt": stub("INT", 0), "ExStubFloat": stub("FLOAT", 0.0),
    "ExLazyMix": LazyMix, "ExVariadicAverage": VariadicAverage, "ExCustomIsChanged": CustomIsChanged,
    "ExChangedByConstants": ChangedByConstants, "ExFailingIsChanged": FailingIsChanged, "ExUniqueId": UniqueId,
    "ExNotIdempotent": NotIdempotent, "ExInstance": Instance, "ExOutputWithSocket": OutputWithSocket, "ExShow": Show,
    "ExNothing": Nothing, "ExSyncError": SyncError, "ExSaveTwice": core_subclass(),
}
