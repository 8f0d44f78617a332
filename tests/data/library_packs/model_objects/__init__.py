"""Models that nodes of two public packs take, made by the packages of these packs with small random weights."""
import torch
from fluxflow.models import FluxCompressor, FluxExpander


class Autoencoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.compressor = FluxCompressor(in_channels=3, d_model=16, downscales=3, max_hw=1024, use_attention=False)
        self.expander = FluxExpander(d_model=16, upscales=3, max_hw=1024)


class FluxFlowModel:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("FLUXFLOW_MODEL",)
    FUNCTION = "go"

    def go(self):
        return (Autoencoder().eval(),)


class Transformer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer_blocks = torch.nn.ModuleList([torch.nn.ModuleDict({"ff": torch.nn.Linear(128, 128)})])


class Pipeline:
    def __init__(self):
        self.transformer = Transformer()


class MakePipeline(FluxFlowModel):
    RETURN_TYPES = ("PIPELINE",)

    def go(self):
        return (Pipeline(),)


class PipelineLayer:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pipeline": ("PIPELINE",)}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    def go(self, pipeline):
        return (type(pipeline.transformer.transformer_blocks[0]["ff"]).__name__,)


NODE_CLASS_MAPPINGS = {"FluxFlowModel": FluxFlowModel, "MakePipeline": MakePipeline, "PipelineLayer": PipelineLayer}
