"""A model with what a pack has set of it, and a model without that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.guidance import Guiding
from models.types import Model
from nodes.packs.objects.guided import GuidedBy
from nodes.packs.objects.options import Options, copied
from nodes.packs.objects.steering import Steers

KEY = "model_options"


def with_options(model: Model, options: Mapping[str, Any], facade: Any) -> Model:
    """The model with what a pack has set. facade: what its functions know as the network."""
    return model if options == {"transformer_options": {}} else _with(model, copied(options), facade, heeds=False)


def heeding(model: Model, facade: Any) -> Model:
    """The model, which also heeds options that come with an evaluation, as samplers and guiders of packs give them."""
    if any(one.heeds for one in model.steering if isinstance(one, Steers)):
        return model
    plain, options = without_options(model)
    return _with(plain, options, facade, heeds=True)


def without_options(model: Model) -> tuple[Model, Options]:
    """The model without what packs have set, and that, to be changed."""
    kept = model.extra.get(KEY)
    options = copied(kept) if isinstance(kept, dict) else {}
    options.setdefault("transformer_options", {})
    guiding = model.guiding
    if isinstance(guiding.combine, GuidedBy):
        guiding = replace(guiding, combine=guiding.combine.usual)
    else:
        options.pop("sampler_cfg_function", None)  # a node of ours has taken its place since
    before = tuple(it for it in guiding.before if _is_ours(it))
    after = tuple(it for it in guiding.after if _is_ours(it))
    steering = tuple(one for one in model.steering if not isinstance(one, Steers))
    extra = {key: value for key, value in model.extra.items() if key != KEY}
    return replace(model, guiding=replace(guiding, before=before, after=after), steering=steering, extra=extra), options


def _with(model: Model, options: Options, facade: Any, *, heeds: bool) -> Model:
    guided = GuidedBy(options, facade, model.guiding.combine)
    guiding: Guiding = model.guiding
    if heeds or options.get("sampler_pre_cfg_function"):
        guiding = replace(guiding, before=(*guiding.before, guided.before))
    if heeds or options.get("sampler_cfg_function"):
        guiding = replace(guiding, combine=guided)
    if heeds or options.get("sampler_post_cfg_function"):
        guiding = replace(guiding, after=(*guiding.after, guided.after))
    steering = (*model.steering, Steers(guided, heeds))
    return replace(model, guiding=guiding, steering=steering, extra={**model.extra, KEY: options})


def _is_ours(function: Any) -> bool:
    return not isinstance(getattr(function, "__self__", None), GuidedBy)
