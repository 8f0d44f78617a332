"""`main.py evaluate`: has the engine draw and judge what an evaluation asks for. Pictures that are there are kept."""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from graph.build import Rule, build
from graph.context import Cancel, Run
from graph.document import Document, NodeId, write
from graph.errors import GraphErrors, Interrupted, NodeError, ValueRefused
from graph.execute import Executor
from graph.files import Folders, objection
from graph.spec import Registry
from server.commands import DONE, FAILED, INTERRUPTED, REFUSED, stopping_on_ctrl_c
from server.evaluation import Evaluation, Point
from server.report import write_report
from server.workflow_files import open_workflow

_OURS = re.compile(r"\d{5}_\d{5}_\.png")


def asked(options: argparse.Namespace, registry: Registry, folders: Folders) -> Evaluation:
    """What the command line asks for. Raises GraphErrors, ValueError, OSError."""
    lines = (line.strip() for line in options.prompts.read_text("utf-8").splitlines())
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise ValueError(f"{options.prompts} holds no prompt; expected one a line")
    if reason := objection(options.name):
        raise ValueError(f"--name {options.name}: {reason}")
    if options.inception and not options.reference:
        raise ValueError("--inception gives an FID only together with --reference, a folder to compare with")
    if options.reference and not (options.inception or options.clip_model):
        raise ValueError("--reference needs a network that looks at it: --inception, --clip-model or both")
    if options.reference and len(prompts) < 2:
        raise ValueError("an FID takes two prompts or more")
    for folder, name in (("clip_vision", options.clip_model), ("inception", options.inception)):
        if name:
            _found(folders, folder, name)
    holds = {name: folders.identity(_found(folders, "checkpoints", name)) for name in options.checkpoints}
    width, height = options.size
    evaluation = Evaluation(
        name=options.name,
        prompts=prompts,
        checkpoints=holds,
        cfgs=tuple(dict.fromkeys(options.cfg)),
        width=width,
        height=height,
        steps=options.steps,
        sampler=options.sampler,
        scheduler=options.scheduler,
        negative=options.negative,
        seed=options.seed,
        clip_model=options.clip_model,
        clip_activation=options.clip_activation,
        inception=options.inception,
        reference=options.reference,
        workflow=Path(options.workflow).name if options.workflow else "",
        drawn_by=open_workflow(options.workflow, registry, folders).document if options.workflow else None,
    )
    places = Counter(evaluation.pictures(name, cfg) for name in holds for cfg in evaluation.cfgs)
    if shared := [place for place, count in places.items() if count > 1]:
        raise ValueError(f"pictures of two checkpoints or guidance scales would lie in {shared[0]}; rename one")
    return evaluation


def run(
    open_executor: Callable[[], Executor[Any]],
    registry: Registry,
    folders: Folders,
    rules: Sequence[Rule],
    read: Callable[[], Evaluation],
) -> int:
    """Draw, judge, and write the report anew after each guidance scale; prints where it is. Returns the exit status.

    What is wrong with the request is said before anything is drawn.
    """
    cancel = Cancel()
    try:
        evaluation = read()
        for checkpoint in evaluation.checkpoints:
            for cfg in evaluation.cfgs:
                graph = build(evaluation.drawing(checkpoint, cfg, 0), registry, folders, rules=rules)
                if graph.errors:
                    raise GraphErrors(graph.errors)
        with open_executor() as executor, stopping_on_ctrl_c(cancel):
            bench = _Bench(evaluation, executor, registry, folders, cancel)
            *_, page = bench.reports()
    except (GraphErrors, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except NodeError as error:
        print(error, file=sys.stderr)
        return FAILED
    except Interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    print(page)
    return DONE


class _Bench:
    """An evaluation at work."""

    def __init__(
        self, evaluation: Evaluation, executor: Executor[Any], registry: Registry, folders: Folders, cancel: Cancel
    ) -> None:
        self._evaluation = evaluation
        self._executor = executor
        self._registry = registry
        self._folders = folders
        self._cancel = cancel

    def reports(self) -> Iterator[Path]:
        """The report's page, each time it has become longer."""
        asked = self._evaluation
        points: list[Point] = []
        pairs = [(checkpoint, cfg) for checkpoint in asked.checkpoints for cfg in asked.cfgs]
        for figure in asked.networks:  # so that a wrong network or reference is said before hours of drawing
            self._run(asked.distance(figure, *pairs[0])[0], "3")
        if asked.clip_model:
            self._run(asked.scoring(*pairs[0], 0)[0], "2")
        with tqdm(total=len(pairs) * len(asked.prompts), unit="picture", file=sys.stderr) as bar:
            for checkpoint, cfg in pairs:
                bar.set_description(f"{checkpoint}, cfg {cfg:g}")
                for _ in self._drawn(checkpoint, cfg):
                    bar.update()
                points.append(self._judged(checkpoint, cfg))
                yield write_report(asked, points, self._folders.output_dir / asked.folder)

    def _drawn(self, checkpoint: str, cfg: float) -> Iterator[Path]:
        """The picture of each prompt, drawn unless it is there. Pictures of earlier, longer lists of prompts go."""
        asked = self._evaluation
        folder = self._folders.output_dir / asked.folder / asked.pictures(checkpoint, cfg)
        wanted = {asked.picture(i) for i in range(len(asked.prompts))}
        for path in folder.glob("*.png"):
            if _OURS.fullmatch(path.name) and path.name not in wanted:
                path.unlink()
        for i in range(len(asked.prompts)):
            path, document = folder / asked.picture(i), asked.drawing(checkpoint, cfg, i)
            if not _shows(path, document):
                path.unlink(missing_ok=True)
                self._run(document, "9")
            yield path

    def _judged(self, checkpoint: str, cfg: float) -> Point:
        asked = self._evaluation
        prompts = range(len(asked.prompts)) if asked.clip_model else ()
        scores = [self._number(*asked.scoring(checkpoint, cfg, i)) for i in prompts]
        distances = {figure: self._number(*asked.distance(figure, checkpoint, cfg)) for figure in asked.networks}
        return Point(checkpoint, cfg, tuple(scores), distances)

    def _number(self, document: Document, node: NodeId) -> float:
        value = self._run(document, node)
        assert isinstance(value, float)
        return value

    def _run(self, document: Document, node: NodeId) -> object:
        """The first output of a node, if it has any. Raises GraphErrors, NodeError, Interrupted."""
        graph = build(document, self._registry, self._folders, [node])
        results = self._executor.execute(Run(uuid.uuid4().hex, document, cancel=self._cancel), graph)
        return next(iter(results[node].values), None)


def _shows(path: Path, document: Document) -> bool:
    """Whether a picture is there that `document` made."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.load()  # all of it is there
            return bool(json.loads(picture.info["prompt"]) == json.loads(write(document)))
    except (OSError, SyntaxError, ValueError, KeyError):
        return False


def _found(folders: Folders, folder: str, name: str) -> Path:
    try:
        return folders.resolve(folder, name)
    except ValueRefused as refused:
        raise ValueError(f"{name}: {refused.message or refused.expected}") from None
