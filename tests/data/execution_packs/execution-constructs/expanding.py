"""Nodes that put graphs in their place."""
from comfy_execution.graph_utils import GraphBuilder

from .tools import ANY


class DependencyCycle:
    """What it expands to waits for itself."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("IMAGE",), "input2": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self, input1, input2):
        g = GraphBuilder()
        mask = g.node("ExStubMask", value=0.5, height=64, width=64, batch_size=1)
        mix1 = g.node("ExLazyMix", image1=input1, mask=mask.out(0))
        mix2 = g.node("ExLazyMix", image1=mix1.out(0), image2=input2, mask=mask.out(0))
        mix1.set_input("image2", mix2.out(0))
        return {"result": (mix2.out(0),), "expand": g.finalize()}


class MixedReturns:
    """A value, a link, and a link to something else."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("FLOAT",)}}

    RETURN_TYPES = ("IMAGE", "FLOAT")
    FUNCTION = "go"

    def go(self, input1):
        if input1 > 1.0:
            return (None, input1)
        g = GraphBuilder()
        white = g.node("ExStubImage", content="WHITE", height=64, width=64, batch_size=1)
        black = g.node("ExStubImage", content="BLACK", height=64, width=64, batch_size=1)
        mask = g.node("ExStubMask", value=input1, height=64, width=64, batch_size=1)
        mix = g.node("ExLazyMix", image1=black.out(0), image2=white.out(0), mask=mask.out(0))
        return {"result": (mix.out(0), input1), "expand": g.finalize()}


class ReusesInput:
    """Its own input, a part of an inner graph and of the result."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE")
    FUNCTION = "go"

    def go(self, image):
        g = GraphBuilder()
        inner = g.node("ExVariadicAverage", input1=image, input2=image)
        same = g.node("ExVariadicAverage", id="named", input1=inner.out(0))
        assert g.lookup_node("named") is same and g.node("ExVariadicAverage", id="named") is same
        return {"result": (image, inner.out(0), same.out(0)), "expand": g.finalize()}


class InnerOutput:
    """Brings an output node along, which shows what it has as the visible node's."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("FLOAT",)
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, image):
        g = GraphBuilder()
        shown = g.node("ExOutputWithSocket", image=image, value=2.0)
        g.node("PreviewImage", images=shown.out(1))
        return {"result": (shown.out(0),), "expand": g.finalize()}


class SavesOnTheWay:
    """No output node itself, but one of its inner nodes is."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self, image):
        g = GraphBuilder()
        g.node("PreviewImage", images=image)
        return {"result": (image,), "expand": g.finalize()}


class Nested:
    """Expands to itself, so many times."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0}), "depth": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, value, depth):
        if depth == 0:
            return (value,)
        g = GraphBuilder()
        more = g.node("ExIntMath", a=value, b=depth, operation="add")
        again = g.node("ExNested", value=more.out(0), depth=depth - 1)
        return {"result": (again.out(0),), "expand": g.finalize()}


class UnknownInner:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, value):
        g = GraphBuilder()
        return {"result": (g.node("ExNobodyHasThis", value=value).out(0),), "expand": g.finalize()}


class SamplingInExpansion:
    """Core nodes inside."""

    @classmethod
    def INPUT_TYPES(cls):
        import folder_paths

        return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"),), "steps": ("INT", {"default": 1})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self, ckpt_name, steps):
        g = GraphBuilder()
        loader = g.node("CheckpointLoaderSimple", ckpt_name=ckpt_name)
        texts = [g.node("CLIPTextEncode", text=text, clip=loader.out(1)) for text in ("a cat", "")]
        latent = g.node("EmptyLatentImage", width=64, height=64, batch_size=1)
        sampled = g.node("KSampler", model=loader.out(0), positive=texts[0].out(0), negative=texts[1].out(0),
                         latent_image=latent.out(0), seed=1, steps=steps, cfg=2.0, sampler_name="euler",
                         scheduler="normal", denoise=1.0)
        decoded = g.node("VAEDecode", samples=sampled.out(0), vae=loader.out(2))
        return {"result": (decoded.out(0),), "expand": g.finalize()}


NODE_CLASS_MAPPINGS = {
    "ExDependencyCycle": DependencyCycle, "ExMixedReturns": MixedReturns, "ExReusesInput": ReusesInput,
    "ExInnerOutput": InnerOutput, "ExSavesOnTheWay": SavesOnTheWay, "ExNested": Nested, "ExUnknownInner": UnknownInner,
    "ExSamplingInExpansion": SamplingInExpansion,
}
