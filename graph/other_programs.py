"""What pictures of other programs say of how they were made: InvokeAI, Fooocus, NovelAI, SwarmUI, Draw Things, diffusers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from graph.a1111_prompt import read_prompt
from graph.generation import Generation, LoraUse
from graph.parameters_text import is_parameters, number_of, read_parameters, size_of, whole_of
from graph.sampler_names import sampler_of

Texts = Mapping[str, str]
Said = Mapping[str, object]


def read_settings(texts: Texts, embeddings: Collection[str] = ()) -> Generation | None:
    """What the texts of a file (by keys in lower case) say; None if no known program wrote them."""
    for key in ("parameters", "usercomment", "comment", "text"):
        if is_parameters(texts.get(key, "")):
            return read_parameters(texts[key], embeddings)
    for read in (_invokeai, _old_invokeai, _dream, _swarm, _fooocus, _novelai, _draw_things, _diffusers):
        if (found := read(texts)) is not None:
            return found
    return None


def _invokeai(texts: Texts) -> Generation | None:
    said = _object(texts.get("invokeai_metadata", ""))
    if said is None:
        return None
    loras = [each for each in _list(said.get("loras")) if isinstance(each, Mapping)]
    return _generation(
        said,
        "InvokeAI",
        {"prompt": "positive_prompt", "negative": "negative_prompt", "sampler": "scheduler", "cfg": "cfg_scale"},
        model=_name_in(said.get("model")),
        vae=_name_in(said.get("vae")),
        clip_skip=whole_of(said.get("clip_skip"), 0) + 1,
        loras=[
            LoraUse(_name_in(each.get("model") or each.get("lora")), weight, weight)
            for each in loras
            if (weight := number_of(each.get("weight"), 1.0)) is not None
        ],
        left=("controlnets", "ipAdapters", "t2iAdapters", "hrf_enabled", "refiner_model", "init_image", "strength"),
    )


def _old_invokeai(texts: Texts) -> Generation | None:
    said = _object(texts.get("sd-metadata", ""))
    if said is None or not isinstance(image := said.get("image"), Mapping):
        return None
    prompt = image.get("prompt")
    parts = [each for each in _list(prompt) if isinstance(each, Mapping)]
    words = ", ".join(str(each.get("prompt", "")) for each in parts) if parts else prompt
    good, bad = _invoke_words(words if isinstance(words, str) else "")
    flat = {**image, "prompt": good, "negative": bad}
    return _generation(flat, "InvokeAI", {"cfg": "cfg_scale"}, model=str(said.get("model_weights") or ""))


def _dream(texts: Texts) -> Generation | None:
    """The command line that early InvokeAI drew with: `"words" -s 50 -S 1 -W 512 -H 512 -C 7.5 -A k_lms`."""
    found = re.fullmatch(r'\s*"((?:[^"\\]|\\.)*)"(.*)', texts.get("dream", ""), re.DOTALL)
    if found is None:
        return None
    options = dict(re.findall(r"-([sSWHCA])\s*([\w.]+)", found[2]))
    names = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg", "A": "sampler"}
    good, bad = _invoke_words(found[1])
    said = {"prompt": good, "negative": bad} | {names[key]: value for key, value in options.items()}
    return _generation(said, "InvokeAI", {})


def _swarm(texts: Texts) -> Generation | None:
    outer = _object(texts.get("parameters", "")) or _object(texts.get("usercomment", "")) or {}
    said = outer.get("sui_image_params")
    if not isinstance(said, Mapping):
        return None
    weights = _list(said.get("loraweights"))
    names = [str(each) for each in _list(said.get("loras"))]
    strengths = [number_of(weights[at], 1.0) if at < len(weights) else 1.0 for at in range(len(names))]
    return _generation(
        said,
        "SwarmUI",
        {"negative": "negativeprompt", "cfg": "cfgscale"},
        model=str(said.get("model") or ""),
        vae=str(said.get("vae") or ""),
        clip_skip=abs(whole_of(said.get("clipstopatlayer"), -1)),
        loras=[LoraUse(name, weight, weight) for name, weight in zip(names, strengths, strict=True)],
        left=("initimage", "controlnetmodel", "refinermodel", "variationseed"),
        sampler_word="sampler",
    )


def _fooocus(texts: Texts) -> Generation | None:
    said = (
        _object(texts.get("parameters", ""))
        or _object(texts.get("usercomment", ""))
        or _object(texts.get("comment", ""))
    )
    if said is None or not ("metadata_scheme" in said or "Performance" in said or "performance" in said):
        return None
    said = {re.sub(r"\W+", "_", key.strip().lower()): value for key, value in said.items()}
    size = size_of(str(said.get("resolution", ""))) or (1024, 1024)
    prompts = [_joined(said.get(key)) for key in ("full_prompt", "full_negative_prompt")]
    flat = {
        **said,
        "prompt": prompts[0] or said.get("prompt", ""),
        "negative": prompts[1] or said.get("negative_prompt", ""),
        "width": size[0],
        "height": size[1],
    }
    return _generation(
        flat,
        "Fooocus",
        {"cfg": "guidance_scale"},
        model=str(said.get("base_model") or ""),
        vae="" if said.get("vae") == "Default (model)" else str(said.get("vae") or ""),
        clip_skip=whole_of(said.get("clip_skip"), 1),
        loras=list(_fooocus_loras(said)),
        left=("refiner_model", "sharpness", "adm_guidance", "styles", "performance", "refiner_switch"),
    )


def _fooocus_loras(said: Said) -> Iterator[LoraUse]:
    """`loras: [[name, weight, hash]]`, or `lora_combined_1: "name : weight"`."""
    for each in _list(said.get("loras")):
        if len(parts := _list(each)) >= 2:
            yield LoraUse(str(parts[0]), number_of(parts[1], 1.0), number_of(parts[1], 1.0))
    for key, value in said.items():
        if key.startswith("lora") and isinstance(value, str) and " : " in value:
            name, _, weight = value.rpartition(" : ")
            yield LoraUse(name.strip(), number_of(weight, 1.0), number_of(weight, 1.0))


def _novelai(texts: Texts) -> Generation | None:
    if "NovelAI" not in texts.get("software", "") + texts.get("title", ""):
        return None
    said = _object(texts.get("comment", "")) or {}
    flat = {**said, "prompt": _curly(str(said.get("prompt") or texts.get("description", "")))}
    flat["negative"] = _curly(str(said.get("uc") or ""))
    return _generation(
        flat,
        "NovelAI",
        {"cfg": "scale", "scheduler": "noise_schedule"},
        model=texts.get("source", ""),
        left=("strength",),
    )


def _draw_things(texts: Texts) -> Generation | None:
    found = re.search(r"<exif:UserComment>.*?(\{.*\})\s*</", texts.get("xmp", ""), re.DOTALL)
    said = _object(texts.get("usercomment", "")) or _object(_unescaped(found[1]) if found else "")
    if said is None or "c" not in said:
        return None
    size = size_of(str(said.get("size", ""))) or (512, 512)
    flat = {**said, "prompt": said.get("c", ""), "negative": said.get("uc", ""), "width": size[0], "height": size[1]}
    extra = said.get("v2")
    used = (
        [each for each in _list(extra.get("loras")) if isinstance(each, Mapping)] if isinstance(extra, Mapping) else []
    )
    loras = [
        LoraUse(str(each.get("file", "")), number_of(each.get("weight"), 1.0), number_of(each.get("weight"), 1.0))
        for each in used
    ]
    return _generation(flat, "Draw Things", {"cfg": "scale"}, model=str(said.get("model") or ""), loras=loras)


def _diffusers(texts: Texts) -> Generation | None:
    """The arguments of a pipeline's call, as texts of their own or as one JSON object."""
    objects = (_object(text) for text in texts.values())
    whole = next((each for each in objects if each and "num_inference_steps" in each), None)
    said: Said | None = whole if whole is not None else texts if "num_inference_steps" in texts else None
    if said is None:
        return None
    names = {"negative": "negative_prompt", "steps": "num_inference_steps", "cfg": "guidance_scale"}
    sampler = said.get("scheduler") or said.get("scheduler_class") or said.get("_class_name") or ""
    model = said.get("model") or said.get("model_id") or said.get("pretrained_model_name_or_path") or ""
    flat = {**said, "sampler": sampler}
    return _generation(flat, "diffusers", names, model=str(model).rsplit("/", 1)[-1], left=("strength", "image"))


def _generation(
    said: Said,
    program: str,
    names: Mapping[str, str],
    *,
    model: str = "",
    vae: str = "",
    clip_skip: int = 1,
    loras: Collection[LoraUse] = (),
    left: Collection[str] = (),
    sampler_word: str = "sampler",
) -> Generation:
    """What all of them have, by their own names where `names` gives those; `left` are members that nothing here is for."""
    get: Callable[[str], object] = lambda key: said.get(names.get(key, key))  # noqa: E731
    word, schedule = str(get(sampler_word) or ""), str(get("scheduler") or "")
    if names.get("sampler") == names.get("scheduler", "scheduler"):
        schedule = ""
    sampler, scheduler = sampler_of(word, schedule)
    good, bad = read_prompt(str(get("prompt") or "")), read_prompt(str(get("negative") or ""))
    notes = [*good.notes, *bad.notes]
    if not sampler:
        notes.append(f"the sampler {word} is not known here: euler stands for it" if word else "it names no sampler")
    present = [f"{name} ({said[name]})" for name in left if said.get(name) not in (None, "", [], {}, 0, False)]
    if present:
        notes.append(f"left out: {', '.join(present)[:400]}")
    notes.append(f"{program} draws its noise in another way: the seed gives another picture")
    return Generation(
        prompt=good.text,
        negative=bad.text,
        steps=whole_of(get("steps"), 20),
        sampler=sampler or "euler",
        scheduler=scheduler or "normal",
        cfg=number_of(get("cfg"), 7.0),
        seed=whole_of(get("seed"), 0),
        width=whole_of(get("width"), 512),
        height=whole_of(get("height"), 512),
        model=model,
        vae=vae,
        clip_skip=max(1, clip_skip),
        loras=(*loras, *good.loras, *bad.loras),
        program=program,
        notes=tuple(dict.fromkeys(notes)),
    )


def _invoke_words(text: str) -> tuple[str, str]:
    """Old InvokeAI has the negative prompt in square brackets."""
    negative = re.findall(r"\[([^\[\]]*)\]", text)
    return re.sub(r"\s*\[[^\[\]]*\]", "", text).strip(), ", ".join(negative)


def _curly(text: str) -> str:
    """NovelAI's `{word}` counts 1.05 times, `[word]` as much less."""
    weighted = re.sub(r"\{+([^{}\[\]]*)\}+", lambda m: _weighted(m, "{", 1.05), text)
    return re.sub(r"\[+([^{}\[\]]*)\]+", lambda m: _weighted(m, "[", 1 / 1.05), weighted)


def _weighted(found: re.Match[str], bracket: str, factor: float) -> str:
    times = len(found[0]) - len(found[0].lstrip(bracket))
    return f"({found[1]}:{factor**times:.3g})"


def _object(text: str) -> Said | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _list(value: object) -> list[object]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _joined(value: object) -> str:
    return ", ".join(str(each) for each in _list(value))


def _name_in(value: object) -> str:
    """The name of a model, which InvokeAI has in objects of several shapes."""
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("model_name") or ""
    return value if isinstance(value, str) else ""


def _unescaped(text: str) -> str:
    for name, letter in (("quot", '"'), ("apos", "'"), ("lt", "<"), ("gt", ">"), ("amp", "&")):
        text = text.replace(f"&{name};", letter)
    return text
