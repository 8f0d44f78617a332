"""Packs written as pack authors write them, run by the real engine: which nodes ran, and what they gave."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from graph.account import Account
from graph.cache import Cache
from graph.context import Run
from graph.document import parse
from graph.errors import GraphErrors, NodeError
from graph.events import NodeStarted
from graph.execute import Executor
from graph.explain import MemoryLedger
from graph.files import Folders
from graph.object_info import describe
from graph.spec import Registry
from models.areas import Area
from models.micro_conditioning import MicroConditioning
from models.precision import Precision
from models.residency import Residency
from models.types import Cond, Conditioning, Control, nbytes
from nodes.conditioning import conditioning_combine
from nodes.packs.collection import Packs, open_packs
from nodes.packs.commands import asking
from nodes.packs.found import Pack, digest, find_packs
from nodes.packs.objects.values import from_pack, to_pack
from nodes.packs.trust import Answer, PackList, Standing
from nodes.registry import builtin
from nodes.scaling import latent_upscale_by
from nodes.services import Services
from tests.nodes.pack_bench import Bench, Written, open_bench, yes

WRITTEN = Path(__file__).parents[1] / "data" / "packs"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path / "base")
    shutil.copytree(WRITTEN, folders.base / "custom_nodes", dirs_exist_ok=True)
    with open_bench(folders) as opened:
        yield opened


def shapes_ran() -> list[Any]:
    """What the pack itself has noted."""
    ran: list[Any] = sys.modules["custom_nodes.shapes"].RAN
    return ran


def test_every_pack_is_there_with_all_its_nodes(bench: Bench) -> None:
    assert [(it.pack.name, it.problem) for it in bench.packs.loaded] == [
        (name, "") for name in ("loops", "my-dashed.pack", "plain", "shapes", "third")
    ]
    info = describe(bench.registry["PlainShout"], bench.folders)
    assert info["display_name"] == "Shout It" and info["category"] == "plain"
    assert info["input"] == {
        "required": {
            "text": ["STRING", {"multiline": True, "default": "hello"}],
            "times": ["INT", {"default": 1, "min": 1, "max": 5, "step": 1}],
            "how": [["loud", "quiet"], {}],
        },
        "optional": {"suffix": ["STRING", {"default": "!"}]},
        "hidden": {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO", "me": "UNIQUE_ID"},
    }
    assert info["output_name"] == ["words", "length"]


def test_a_class_runs_with_links_values_and_what_is_hidden(bench: Bench) -> None:
    say = {"s": ("PlainShout", {"text": "ho", "times": 2, "how": "loud"})}
    assert bench.shown(say, ["s", 0]) == ["HO HO"]  # an optional input that is not given has the function's default
    say["s"][1]["suffix"] = "?"
    assert bench.shown(say, ["s", 1]) == [6]
    with pytest.raises(GraphErrors, match=r"'times': got 9, expected an integer from 1 to 5"):
        bench.shown({"s": ("PlainShout", {"text": "ho", "times": 9, "how": "loud"})}, ["s", 0])


def test_a_pack_that_changes_its_input_in_place_spoils_nobody_else_s(bench: Bench) -> None:
    nodes: Written = {
        "e": ("EmptyImage", {"width": 16, "height": 8, "batch_size": 1, "color": 0xFFFFFF}),
        "d": ("PlainDarken", {"image": ["e", 0], "by": 0.5}),
        "d2": ("PlainDarken", {"image": ["d", 0], "by": 0.5}),
        "m": ("MaskToImage", {"mask": ["d2", 1]}),
        **{
            f"s{i}": ("SaveImage", {"images": [key, 0], "filename_prefix": key})
            for i, key in enumerate(("e", "d", "d2", "m"))
        },
    }
    results = bench.run(nodes)
    levels = []
    for i in range(4):
        entry: Any = results[f"s{i}"].ui["images"][0]
        with PIL.Image.open(bench.folders.output_dir / entry["filename"]) as picture:
            levels.append(picture.getpixel((3, 3)))
    assert levels == [(255,) * 3, (127,) * 3, (63,) * 3, (63,) * 3]


def test_files_are_offered_as_they_are_now(bench: Bench) -> None:
    (bench.folders.base / "models/checkpoints/new.safetensors").touch()
    results = bench.run({"f": ("PlainFiles", {"name": "new.safetensors"})})
    assert results["f"].values == (str(bench.folders.base / "models/checkpoints/new.safetensors"),)
    assert results["f"].ui == {"text": ["new.safetensors"]}
    with pytest.raises(GraphErrors, match=r"'gone' *, expected"):
        bench.run({"f": ("PlainFiles", {"name": "gone"})})


def test_an_instance_is_kept_for_each_node(bench: Bench) -> None:
    counter: Written = {"c": ("PlainCounter", {"seed": 1}), "c2": ("PlainCounter", {"seed": 7})}
    assert bench.shown(counter, ["c", 0]) == [1]
    counter["c"][1]["seed"] = 2
    assert bench.shown(counter, ["c", 0]) == [2]
    assert bench.shown(counter, ["c2", 0]) == [1]
    assert bench.shown(counter, ["c", 0]) == [2] and "c" not in bench.ran, "an equal node is at hand"


def test_a_subclass_of_a_core_node_saves_as_that_does_and_tells_clients(bench: Bench) -> None:
    nodes: Written = {
        "e": ("EmptyImage", {"width": 16, "height": 8, "batch_size": 2, "color": 0}),
        "h": ("DashedHalve", {"image": ["e", 0]}),
        "s": ("DashedSaveBoth", {"images": ["h", 0]}),
    }
    results = bench.run(nodes)
    entries: Any = results["s"].ui["images"]
    assert [entry["filename"] for entry in entries] == ["dashed_00001_.png", "dashed_00002_.png"]
    with PIL.Image.open(bench.folders.output_dir / "dashed_00002_.png") as picture:
        assert picture.size == (8, 4) and json.loads(picture.info["prompt"]).keys() == nodes.keys()
    assert bench.sent == [("dashed.saved", {"count": 2})]


@pytest.mark.parametrize("which", [True, False])
def test_a_lazy_input_that_is_not_asked_for_never_runs(bench: Bench, which: bool) -> None:
    nodes: Written = {
        "a": ("ShapesNumber", {"value": 1}),
        "b": ("ShapesNumber", {"value": 2}),
        "l": ("ShapesLazy", {"which": which, "a": ["a", 0], "b": ["b", 0]}),
    }
    assert bench.shown(nodes, ["l", 0]) == [1 if which else 2]
    assert bench.ran == sorted(["l", "show", "a" if which else "b"])


def test_lists_are_mapped_gathered_and_made(bench: Bench) -> None:
    nodes: Written = {
        "r": ("ShapesRange", {"count": 4}),
        "a": ("ShapesAdd", {"a": ["r", 0], "b": 10}),
        "t": ("ShapesSum", {"values": ["a", 0]}),
    }
    assert bench.shown(nodes, ["a", 0]) == [10, 11, 12, 13]
    assert bench.shown(nodes, ["t", 0]) == [46]


def test_blocked_values_keep_others_from_running_and_say_why(bench: Bench) -> None:
    nodes: Written = {"b": ("ShapesBlock", {"value": ["n", 0], "block": True, "why": "not today"})}
    nodes |= {"n": ("ShapesNumber", {"value": 1}), "a": ("ShapesAdd", {"a": ["b", 0], "b": 1})}
    shapes_ran().clear()
    assert bench.run({**nodes, "show": ("ShapesShow", {"value": ["a", 0]})})["show"].ui == {}
    assert shapes_ran() == [("number", 1)]
    nodes["b"][1]["block"] = False
    assert bench.shown(nodes, ["a", 0]) == [2]


def test_a_node_puts_a_subgraph_in_its_place(bench: Bench) -> None:
    nodes: Written = {"n": ("ShapesNumber", {"value": 3}), "t": ("ShapesTwice", {"value": ["n", 0]})}
    nodes["t2"] = ("ShapesTwice", {"value": ["t", 0]})
    shapes_ran().clear()
    assert bench.shown(nodes, ["t2", 0]) == [12]
    assert shapes_ran() == [("number", 3), ("add", 3, 3), ("add", 6, 6)]


@pytest.mark.parametrize("begin", [0, 4])
def test_a_loop_that_expands_to_copies_of_its_body_runs_to_its_end(bench: Bench, begin: int) -> None:
    nodes: Written = {
        "n": ("LoopsNumber", {"value": begin}),
        "e": ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0xFFFFFF}),
        "o": ("LoopsWhileOpen", {"condition": True, "value0": ["n", 0], "value1": ["e", 0]}),
        "s": ("LoopsStep", {"count": ["o", 1], "by": 2, "image": ["o", 2]}),
        "c": ("LoopsWhileClose", {"flow": ["o", 0], "condition": ["s", 1], "value0": ["s", 0], "value1": ["s", 2]}),
        "i": ("SaveImage", {"images": ["c", 1], "filename_prefix": "loop"}),
    }
    sys.modules["custom_nodes.loops"].RAN.clear()
    assert bench.shown(nodes, ["c", 0]) == [6]
    rounds = list(range(begin, 6, 2))
    assert rounds == sys.modules["custom_nodes.loops"].RAN
    with PIL.Image.open(next(bench.folders.output_dir.glob("loop_*.png"))) as picture:
        assert picture.getpixel((0, 0)) == (int(255 * 0.5 ** len(rounds)),) * 3
    shown = {event.display_id for event in bench.events if isinstance(event, NodeStarted) and event.display_id}
    assert shown <= nodes.keys(), "only nodes that are on the screen stand for others"
    assert bench.shown(nodes, ["c", 0]) == [6] and rounds == sys.modules["custom_nodes.loops"].RAN, "all is at hand"


def test_async_functions_any_input_and_any_type(bench: Bench) -> None:
    nodes: Written = {
        "n": ("ShapesNumber", {"value": 1}),
        "s": ("ShapesSlow", {"value": ["n", 0]}),
        "any": ("ShapesAnyInputs", {"first": ["s", 0], "another": ["n", 0]}),
    }
    assert bench.shown(nodes, ["any", 0]) == [3]


def test_a_class_s_own_check_takes_the_place_of_ranges(bench: Bench) -> None:
    assert bench.shown({"c": ("ShapesChecked", {"even": 8})}, ["c", 0]) == [8]  # beyond max, which it looks after
    with pytest.raises(GraphErrors, match=r"node c \(ShapesChecked\), input 'even': 3 is odd"):
        bench.shown({"c": ("ShapesChecked", {"even": 3})}, ["c", 0])


def test_what_is_never_fresh_runs_every_time(bench: Bench) -> None:
    nodes: Written = {"f": ("ShapesFresh", {"value": 1})}
    for _ in range(2):
        assert bench.shown(nodes, ["f", 0]) == [1]
        assert "f" in bench.ran


def test_the_third_protocol_with_groups_choices_and_matching_types(bench: Bench) -> None:
    white = {"width": 8, "height": 8, "batch_size": 1, "color": 0xFFFFFF}
    nodes: Written = {
        "e": ("EmptyImage", white),
        "m": (
            "ThirdMix",
            {"share": 0.25, "images.image0": ["e", 0], "images.image1": ["e", 0], "mode": "scaled", "mode.by": 2},
        ),
        "same": ("ThirdSame", {"a": ["m", 0], "b": ["e", 0]}),
        "show": ("ThirdShow", {"image": ["same", 0]}),
        "count": ("ShapesShow", {"value": ["m", 1]}),
    }
    results = bench.run(nodes)
    assert results["count"].ui == {"shown": [2]}
    entry: Any = results["show"].ui["images"][0]
    with PIL.Image.open(bench.folders.temp_dir / entry["filename"]) as picture:
        assert picture.getpixel((0, 0)) == (255, 255, 255)
    nodes["same"][1]["b"] = ["m", 1]
    with pytest.raises(GraphErrors, match=r"links to INT .*, expected IMAGE"):
        bench.run(nodes)
    del nodes["m"][1]["images.image1"]
    with pytest.raises(GraphErrors, match=r"images\.image1"):
        bench.run(nodes)


def test_a_node_that_raises_says_so_as_others_do(bench: Bench) -> None:
    with pytest.raises(NodeError, match=r"node h \(DashedHalve\)"):
        bench.run(
            {
                "b": ("ShapesBlock", {"value": "no picture", "block": False, "why": ""}),
                "h": ("DashedHalve", {"image": ["b", 0]}),
                "p": ("PreviewImage", {"images": ["h", 0]}),
            }
        )


def test_a_changed_pack_is_loaded_again_and_only_its_results_are_dropped(bench: Bench) -> None:
    words = bench.folders.base / "custom_nodes" / "plain" / "words.py"
    nodes: Written = {
        "n": ("ShapesNumber", {"value": 2}),
        "s": ("PlainShout", {"text": "ho", "times": ["n", 0], "how": "loud"}),
    }
    assert bench.shown(nodes, ["s", 0]) == ["HO HO"]
    assert not bench.packs.refresh(yes)
    words.write_text(words.read_text().replace("text.upper()", "text.title()"))
    assert bench.packs.refresh(yes)
    bench.registry.replace([*builtin().values(), *bench.packs.specs])
    assert bench.shown(nodes, ["s", 0]) == ["Ho Ho"]
    assert bench.ran == ["s", "show"]
    shutil.rmtree(words.parent)
    assert bench.packs.refresh(yes) and [it.pack.name for it in bench.packs.loaded] == [
        "loops",
        "my-dashed.pack",
        "shapes",
        "third",
    ]


def test_a_changed_pack_is_one_reason_to_run_its_nodes_again(bench: Bench) -> None:
    words, ledger = bench.folders.base / "custom_nodes" / "plain" / "words.py", MemoryLedger()
    nodes: Written = {"s": ("PlainShout", {"text": "ho", "times": 1, "how": "loud"})}

    def explained() -> str:
        bench.shown(nodes, ["s", 0])
        account = Account()
        for event in bench.events:
            account(event)
        (said,) = (one.words for one in account.explain(ledger) if one.node == "s")
        return said

    assert explained() == "ran: it ran for the first time"
    assert explained() == "did not have to run: nothing that it depends on has changed"
    words.write_text(words.read_text() + "\n\ndef unused() -> None:\n    pass\n")
    assert bench.refresh()
    assert explained() == "ran: the code of PlainShout has changed"


def test_what_conditioning_and_latents_have_goes_through_packs_and_nodes_whole(bench: Bench) -> None:
    host, tokens = bench.packs.host, torch.ones(1, 77, 8)
    model: Any = None
    control = Control(model, torch.zeros(1, 8, 8, 3))
    cond = Cond(
        tokens,
        tokens[:, 0],
        Area(1, 2, 3, 4),
        0.5,
        {"guidance": 3.5},
        None,
        False,
        0.25,
        0.75,
        controls=(control,),
        said=MicroConditioning(640, 480, score=6.5),
    )
    entries = to_pack(Conditioning((cond,)), host)
    entries[0][1] = {**entries[0][1], "theirs": [1]}  # as packs add to it
    [back] = from_pack(entries, "CONDITIONING", host).conds  # type: ignore[attr-defined]
    assert entries[0][1]["width"] == 640
    assert back.controls == (control,) and back.said == cond.said and back.extra == {"guidance": 3.5, "theirs": [1]}
    assert (back.area, back.strength, back.start, back.end) == (cond.area, 0.5, 0.25, 0.75)
    both = conditioning_combine(None, conditioning_1=Conditioning((back,)), conditioning_2=Conditioning((cond,)))
    assert [it.extra for it in both.conds] == [back.extra, cond.extra]
    assert to_pack(Conditioning((Cond(tokens, tokens[:, 0]),)), host)[0][1].keys() == {"pooled_output"}

    latent = from_pack({"samples": torch.zeros(1, 4, 2, 2), "type": "audio", "theirs": 7}, "LATENT", host)
    grown = latent_upscale_by(None, samples=latent, upscale_method="nearest-exact", scale_by=2.0)
    assert to_pack(grown, host).keys() == {"samples", "type", "theirs"} and to_pack(grown, host)["theirs"] == 7


def test_looking_for_changes_takes_a_small_part_of_the_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    class Slow(Packs):
        looks = 0

        def refresh(self, ask: Any) -> bool:
            self.looks += 1
            now[0] += 1.0
            return super().refresh(ask)

    given = bench.packs
    packs = Slow(given.host, given._importer, given._routes, given._known, (), clock=lambda: now[0])
    assert packs.look(yes), "all are new to it"
    assert not packs.look(yes) and packs.looks == 2, "after a change it looks again at once"
    for _ in range(1000):
        now[0] += 0.1
        assert not packs.look(yes)
    assert packs.looks == 2 + int(100 / 21), "a second of looking, and twenty of not"
    (bench.folders.base / "custom_nodes" / "plain" / "words.py").write_text("def shout(text):\n    return text")
    packs.decide("loops", "allow")
    assert packs.look(yes), "what the owner says is heeded at once"
    packs.close()


# --- what is wrong with packs ----------------------------------------------------------------------------------------


def opened(folders: Folders, **files: str) -> dict[str, str]:
    """What is wrong with packs that hold these files, by their names."""
    for name, text in files.items():
        place = folders.base / "custom_nodes" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "__init__.py").write_text(text)
    with open_packs(folders, builtin(), yes) as packs:
        return {it.pack.name: it.problem for it in packs.loaded}


def test_a_pack_that_fails_is_left_out_and_says_why(tmp_path: Path) -> None:
    said = opened(
        Folders.standard(tmp_path / "base"),
        crashes="raise RuntimeError('no luck')",
        exits="import sys; sys.exit(3)",
        wants="import a_package_that_nobody_has",
        empty="",
        same="class N:\n    pass\nNODE_CLASS_MAPPINGS = {'SaveImage': N}",
    )
    assert "RuntimeError: no luck" in said["crashes"] and "SystemExit: 3" in said["exits"]
    assert "needs a package that is not installed" in said["wants"]
    assert "declares no nodes" in said["empty"]
    assert "node SaveImage" in said["same"]


REACHES = """
import comfy.ldm.something
from comfy.utils import soon, Later
try:
    import comfy.quite_new
    KIND = "new"
except ImportError:
    KIND = "old"

class Mine(Later):
    pass

class Fine:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": (["kind", "soon", "later", "ldm"],)}}
    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"
    OUTPUT_NODE = True
    def go(self, what):
        if what == "soon":
            soon(1)
        if what == "later":
            Mine()
        if what == "ldm":
            comfy.ldm.something.deep()
        return {"ui": {"kind": [KIND]}, "result": (KIND,)}

NODE_CLASS_MAPPINGS = {"Reaches": Fine}
"""


def test_a_pack_that_reaches_for_what_is_not_here_loads_and_says_so_where_it_is_used(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    (folders.base / "custom_nodes" / "reaches.py").write_text(REACHES)
    with open_packs(folders, builtin(), yes) as packs:
        assert [it.problem for it in packs.loaded] == [""]
        assert {"comfy.utils.soon", "comfy.utils.Later", "comfy.ldm.something"} <= packs.host.missed.keys()
        registry = Registry([*builtin().values(), *packs.specs])
        services = Services(Residency(torch.device("cpu"), Precision(), 2**30), folders)
        with Executor(services, registry, folders, Cache(2**20, nbytes)) as executor:

            def run(what: str) -> Any:
                document = parse(json.dumps({"1": {"class_type": "Reaches", "inputs": {"what": what}}}))
                return executor.execute(Run("run", document))["1"].ui["kind"]

            assert run("kind") == ["new"]  # once it has to be lenient, it is so for all
            for what, name in (("soon", "comfy.utils.soon"), ("later", "comfy.utils.Later"), ("ldm", "deep")):
                with pytest.raises(NodeError, match=name):
                    run(what)


def test_a_pack_that_knows_what_else_to_do_is_told_what_is_absent(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    said = opened(
        folders,
        wise="try:\n    from comfy.utils import soon\nexcept ImportError:\n    soon = None\nassert soon is None\nNODE_CLASS_MAPPINGS = {}",
    )
    assert "soon" not in said["wise"]


def test_a_pack_that_calls_itself_by_the_name_of_its_folder_is_itself(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    place = folders.base / "custom_nodes" / "myself"
    (place / "inner").mkdir(parents=True)
    (place / "__init__.py").write_text(
        "from myself.inner.deep import WORD, folder_paths\nimport myself.inner.deep\nimport myself.inner.deep as again\n"
        "assert myself.inner.deep is again and WORD == again.WORD and folder_paths.base_path\n"
        "NODE_CLASS_MAPPINGS = {}"
    )
    (place / "inner" / "__init__.py").touch()
    (place / "inner" / "deep.py").write_text("import folder_paths\nWORD = 'hello'")
    with open_packs(folders, builtin(), yes) as packs:
        assert "could not" not in packs.loaded[0].problem
    assert "myself" not in sys.modules


def test_what_stand_ins_lack_is_counted(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    place = folders.base / "custom_nodes" / "one.py"
    place.write_text(
        "import comfy.utils\ntry:\n    comfy.utils.soon\nexcept AttributeError:\n    pass\nNODE_CLASS_MAPPINGS = {}"
    )
    with open_packs(folders, builtin(), yes) as packs:
        assert packs.host.missed == {"comfy.utils.soon": 1}


def test_others_import_what_they_always_did(bench: Bench) -> None:
    import nodes
    import server

    assert not hasattr(nodes, "NODE_CLASS_MAPPINGS") and not hasattr(server, "PromptServer")
    assert "folder_paths" not in sys.modules and "comfy" not in sys.modules


# --- who may run -----------------------------------------------------------------------------------------------------


def test_a_pack_is_asked_about_once_and_again_when_it_changes(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    file = folders.base / "custom_nodes" / "mine.py"
    file.write_text("NODE_CLASS_MAPPINGS = {}")
    asked: list[Standing] = []

    def ask(pack: Pack, standing: Standing) -> Answer:
        asked.append(standing)
        return Answer.YES

    for change in ("", "", "# changed\n"):
        file.write_text(file.read_text() + change)
        with open_packs(folders, builtin(), ask):
            pass
    assert asked == [Standing.UNKNOWN, Standing.CHANGED]


def test_what_the_owner_refuses_is_not_imported(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    file, trace = folders.base / "custom_nodes" / "mine.py", tmp_path / "it ran"
    file.write_text(f"open({str(trace)!r}, 'w')\nNODE_CLASS_MAPPINGS = {{}}")
    with open_packs(folders, builtin(), lambda pack, standing: Answer.NO) as packs:
        [it] = packs.loaded
        assert "not seen before" in it.problem and not trace.exists()
    assert 'enabled = "ask"' in (folders.base / "packs.toml").read_text(), "for the owner to decide"
    known = PackList(folders.base / "packs.toml")
    known.allow(it.pack, digest(it.pack))
    known.disable("mine")
    with open_packs(folders, builtin(), yes) as packs:
        assert "disabled" in packs.loaded[0].problem and not trace.exists()


def test_with_nobody_to_ask_a_pack_is_loaded_for_the_owner_alone_and_asked_about_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = Folders.standard(tmp_path / "base").extended({"custom_nodes": [tmp_path / "named"]})
    (folders.base / "custom_nodes" / "mine.py").write_text("NODE_CLASS_MAPPINGS = {}")
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "theirs.py").write_text("NODE_CLASS_MAPPINGS = {}")
    for has_strangers, said, is_there in ((False, "loaded", True), (True, "not loaded", False)):
        with open_packs(folders, builtin(), asking(folders, False, has_strangers)) as packs:
            assert {it.pack.name: "is not loaded" not in it.problem for it in packs.loaded} == {
                "mine": is_there,
                "theirs": True,
            }
        assert f"may do whatever you may: {said}" in capsys.readouterr().err


def test_what_the_owner_writes_into_the_list_counts_without_a_restart(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    (folders.base / "custom_nodes" / "mine.py").write_text("NODE_CLASS_MAPPINGS = {}")

    def no(pack: Pack, standing: Standing) -> Answer:
        return Answer.NO

    with open_packs(folders, builtin(), no) as packs:
        assert not packs.refresh(no) and "is not loaded" in packs.loaded[0].problem
        PackList(folders.base / "packs.toml").allow(packs.loaded[0].pack, packs.loaded[0].given.code)
        assert packs.refresh(no) and "is not loaded" not in packs.loaded[0].problem
        PackList(folders.base / "packs.toml").disable("mine")
        assert packs.refresh(no) and "disabled" in packs.loaded[0].problem
        assert not packs.refresh(no)


def test_the_owner_s_file_keeps_its_comments_and_is_never_overwritten_when_damaged(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    file = folders.base / "packs.toml"
    file.write_text("# mine\n[packs.old]\nenabled = false # never\n")
    PackList(file).allow(Pack("new", tmp_path / "new.py"), "sha256:0")
    assert "# mine" in file.read_text() and "# never" in file.read_text() and "[packs.new]" in file.read_text()
    file.write_text("enabled = [")
    (folders.base / "custom_nodes" / "new.py").touch()
    with (
        pytest.raises(ValueError, match=r"packs\.toml cannot be read"),
        open_packs(folders, builtin(), yes),
    ):
        pass
    assert file.read_text() == "enabled = ["


def test_packs_are_found_by_folder_and_file_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for place in (
        first / "one",
        first / ".hidden",
        first / "off.disabled",
        first / "__pycache__",
        second / "one",
        first / "data",
    ):
        place.mkdir(parents=True)
        if place.name != "data":
            (place / "__init__.py").touch()
    (second / "two.py").touch()
    (second / "notes.txt").touch()
    found = list(find_packs([first, tmp_path / "gone", second]))
    assert [(pack.name, pack.path.parent) for pack in found] == [("one", first), ("two", second)]


def test_types_of_links_that_are_not_used_here_can_be_declared_and_others_are_counted(tmp_path: Path) -> None:
    folders = Folders.standard(tmp_path / "base")
    (folders.base / "custom_nodes" / "one.py").write_text(
        "from comfy_api.latest import io\nchanged = io.File3DGLB.Input('mesh')\nchanged.id = 'model'\n"
        "assert (changed.id, changed.io_type) == ('model', 'FILE_3D_GLB')\n"
        "try:\n    io.Tomorrow\nexcept AttributeError as error:\n    assert 'Tomorrow' in str(error)\n"
        "NODE_CLASS_MAPPINGS = {}"
    )
    with open_packs(folders, builtin(), yes) as packs:
        assert "could not" not in packs.loaded[0].problem
        assert packs.host.missed == {"comfy_api.latest.io.Tomorrow": 1}
