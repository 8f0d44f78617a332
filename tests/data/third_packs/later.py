"""A pack of the third protocol, with what came to it later."""
from enum import Enum

from comfy_api.latest import ComfyAPI, ComfyAPISync, ComfyExtension, io, ui


class Mode(Enum):
    LOUD = "loud"
    QUIET = "quiet"


class Say(io.ComfyNode):
    said = 0

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LaterSay",
            inputs=[
                io.Combo.Input("mode", options=Mode, default=Mode.LOUD),
                io.MultiCombo.Input("many", options=["x", "y", "z"], default=["x"]),
                io.Combo.Input("number", options=[1, 2]),
                io.Int.Input("n", default=1, min=0, max=5, display_mode=io.NumberDisplay.slider, advanced=True),
                io.String.Input("s", default="", dynamic_prompts=True, force_input=True),
                io.Combo.Input("file", options=["a.png"], upload=io.UploadType.image),
            ],
            outputs=[io.String.Output()],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, n):
        return "seven is too many" if n == 7 else True

    @classmethod
    def execute(cls, mode, many, number, n, s, file):
        try:
            cls.said = 1
            locked = "no"
        except AttributeError as error:
            locked = str(error)
        text = repr((mode, many, number, n))
        return io.NodeOutput(text, ui=ui.PreviewText(text + locked))


class Move(io.ComfyNode):
    """Saves moving pictures."""

    @classmethod
    def define_schema(cls):
        return io.Schema("LaterMove", inputs=[io.Image.Input("image"), io.Combo.Input("how", options=["png", "webp"])], is_output_node=True)

    @classmethod
    def execute(cls, image, how):
        if how == "png":
            return io.NodeOutput(ui=ui.ImageSaveHelper.get_save_animated_png_ui(image, filename_prefix="moving", cls=cls, fps=4.0, compress_level=4))
        made = ui.ImageSaveHelper.get_save_animated_webp_ui(image, filename_prefix="moving", cls=cls, fps=4.0, lossless=True, quality=90, method=4)
        return io.NodeOutput(ui=made)


class Wrong(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema("LaterWrong", outputs=[io.Int.Output()], is_output_node=True)

    @classmethod
    def execute(cls):
        return (1, 2)


class Ask(io.ComfyNode):
    """Tells how far it is, and asks for what is not there."""

    @classmethod
    def define_schema(cls):
        return io.Schema("LaterAsk", inputs=[io.Image.Input("image"), io.Boolean.Input("more")], is_output_node=True)

    @classmethod
    async def execute(cls, image, more):
        ComfyAPISync().execution.set_progress(1, 3, preview_image=image)
        await ComfyAPI().execution.set_progress(value=2, max_value=3, node_id="5", preview_image=image[0], ignore_size_limit=True)
        ComfyAPISync().execution.set_progress(3, 3)
        return io.NodeOutput(ui=ComfyAPI().caching) if more else io.NodeOutput()


class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Say, Move, Wrong, Ask]


async def comfy_entrypoint():
    return Extension()
