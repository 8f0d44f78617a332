"""The third protocol."""
from comfy_api.latest import ComfyExtension, io, ui


class Mix(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ThirdMix",
            display_name="Mix Them",
            category="third",
            inputs=[
                io.Float.Input("share", default=0.5, min=0.0, max=1.0),
                io.Autogrow.Input(
                    "images", template=io.Autogrow.TemplatePrefix(io.Image.Input("image"), "image", min=2, max=4)
                ),
                io.DynamicCombo.Input(
                    "mode",
                    options=[
                        io.DynamicCombo.Option("plain", []),
                        io.DynamicCombo.Option("scaled", [io.Int.Input("by", default=2, min=1, max=9)]),
                    ],
                ),
            ],
            outputs=[io.Image.Output(display_name="mixed"), io.Int.Output("count")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, share, images, mode):
        by = mode.get("by", 1)
        assert cls.hidden.unique_id == "m" and mode["mode"] in ("plain", "scaled")
        return io.NodeOutput(sum(images.values()) * share * by, len(images))


class Same(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        template = io.MatchType.Template("T")
        return io.Schema(
            node_id="ThirdSame",
            category="third",
            inputs=[io.MatchType.Input("a", template=template), io.MatchType.Input("b", template=template)],
            outputs=[io.MatchType.Output(template=template, display_name="same")],
        )

    @classmethod
    async def execute(cls, a, b):
        return io.NodeOutput(a)


class Save(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="ThirdShow", category="third", inputs=[io.Image.Input("image")], is_output_node=True)

    @classmethod
    def execute(cls, image):
        return io.NodeOutput(ui=ui.PreviewImage(image, cls=cls))


class Third(ComfyExtension):
    async def on_load(self):
        self.loaded = True

    async def get_node_list(self):
        assert self.loaded
        return [Mix, Same, Save]


async def comfy_entrypoint():
    return Third()
