"""What an evaluation asks for, and the workflows that draw and judge its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graph.document import DocNode, Document, Link, NodeId
from server.fitted import Shot, fitted

MEASURES: Mapping[str, str] = MappingProxyType({"fid": "FID", "clip_fid": "FID", "kid": "KID", "cmmd": "CMMD"})
"""Distances from the reference's pictures: the figure's name -> the node type that measures it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every prompt with every checkpoint at every guidance scale. Prompt i has the seed `seed + i`.

    checkpoints: file names -> what they hold, so that another file of the same name is drawn anew. Without
    `clip_model` there is no CLIP score, without `reference` (a folder of the input directory) no distance: with
    `inception` the FID that everybody means and KID, with `clip_model` an FID in its features and CMMD. `drawn_by` is the workflow of the file
    `workflow`: it then decides size, steps, sampler, scheduler and negative prompt.
    """

    name: str
    prompts: tuple[str, ...]
    checkpoints: Mapping[str, str]
    cfgs: tuple[float, ...]
    width: int
    height: int
    steps: int
    sampler: str
    scheduler: str
    negative: str
    seed: int
    clip_model: str | None = None
    clip_activation: str = "quick_gelu"
    inception: str | None = None
    reference: str | None = None
    workflow: str = ""
    drawn_by: Document | None = None

    @property
    def folder(self) -> str:
        """Of the report, below the output directory."""
        return f"evaluate/{self.name}"

    def pictures(self, checkpoint: str, cfg: float) -> str:
        """The folder of one checkpoint's pictures at one guidance scale, below that of the report."""
        return f"{checkpoint.replace('/', '_')}/cfg-{cfg:g}"

    def picture(self, i: int) -> str:
        """The file of prompt i in such a folder: what SaveImage makes of the prefix."""
        return f"{i:05}_00001_.png"

    def drawing(self, checkpoint: str, cfg: float, i: int) -> Document:
        """The workflow of one picture, which saves it. Raises ValueError where the user's own has no place for it."""
        prefix = f"{self.folder}/{self.pictures(checkpoint, cfg)}/{i:05}"
        if self.drawn_by is not None:
            shot = Shot(self.prompts[i], checkpoint, self.checkpoints[checkpoint], cfg, self.seed + i, prefix)
            return fitted(self.drawn_by, shot)
        loader = DocNode("CheckpointLoaderSimple", {"ckpt_name": checkpoint}, {"holds": self.checkpoints[checkpoint]})
        sampling: dict[str, object] = {
            "seed": self.seed + i,
            "steps": self.steps,
            "cfg": cfg,
            "sampler_name": self.sampler,
            "scheduler": self.scheduler,
            "denoise": 1.0,
            "model": Link("4", 0),
            "positive": Link("6", 0),
            "negative": Link("7", 0),
            "latent_image": Link("5", 0),
        }
        return Document(
            {
                "4": loader,
                "5": DocNode("EmptyLatentImage", {"width": self.width, "height": self.height, "batch_size": 1}),
                "6": DocNode("CLIPTextEncode", {"text": self.prompts[i], "clip": Link("4", 1)}),
                "7": DocNode("CLIPTextEncode", {"text": self.negative, "clip": Link("4", 1)}),
                "3": DocNode("KSampler", sampling),
                "8": DocNode("VAEDecode", {"samples": Link("3", 0), "vae": Link("4", 2)}),
                "9": DocNode("SaveImage", {"images": Link("8", 0), "filename_prefix": prefix}),
            }
        )

    def scoring(self, checkpoint: str, cfg: float, i: int) -> tuple[Document, NodeId]:
        """The workflow that scores a picture that was drawn, and the node whose output is the CLIP score."""
        file = f"{self.folder}/{self.pictures(checkpoint, cfg)}/{self.picture(i)} [output]"
        score = {"image": Link("1", 0), "clip_model": Link("2", 0), "text": self.prompts[i]}
        nodes = {"1": DocNode("LoadImage", {"image": file}), "2": self._clip, "3": DocNode("CLIPScore", score)}
        return Document(nodes), "3"

    @property
    def networks(self) -> Mapping[str, DocNode]:
        """What distances are measured with: the figure's name -> the node that loads its network."""
        if not self.reference:
            return {}
        inception = DocNode("InceptionLoader", {"inception": self.inception})
        by_inception = dict.fromkeys(("fid", "kid"), inception) if self.inception else {}
        return by_inception | (dict.fromkeys(("clip_fid", "cmmd"), self._clip) if self.clip_model else {})

    def distance(self, figure: str, checkpoint: str, cfg: float) -> tuple[Document, NodeId]:
        """The workflow of a distance, and the node whose output it is. Node 3 looks at the reference."""
        drawn = f"{self.folder}/{self.pictures(checkpoint, cfg)} [output]"
        nodes = {
            "1": self.networks[figure],
            "2": DocNode("FolderVectors", {"model": Link("1", 0), "folder": drawn}),
            "3": DocNode("FolderVectors", {"model": Link("1", 0), "folder": f"{self.reference} [input]"}),
            "4": DocNode(MEASURES[figure], {"features": Link("2", 0), "reference": Link("3", 0)}),
        }
        return Document(nodes), "4"

    @property
    def _clip(self) -> DocNode:
        return DocNode("CLIPModelLoader", {"clip_model": self.clip_model, "activation": self.clip_activation})


@dataclass(frozen=True, slots=True)
class Point:
    """How good one checkpoint's pictures are at one guidance scale. scores: the CLIP score of each prompt's picture."""

    checkpoint: str
    cfg: float
    scores: tuple[float, ...]
    distances: Mapping[str, float]

    @property
    def figures(self) -> Mapping[str, float]:
        """By name: `clip_score` is higher for better, the distances are lower."""
        mean = {"clip_score": sum(self.scores) / len(self.scores)} if self.scores else {}
        return mean | dict(self.distances)
