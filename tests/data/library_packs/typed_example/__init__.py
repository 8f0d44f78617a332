from comfyui_types import ComfyUINode, StringInput, FloatInput, ImageInput, StringOutput, ImageOutput, export_nodes

class Words(ComfyUINode):
    category = 'mine/text'
    display_name = 'Many Words'
    text = StringInput(default='masterpiece', multiline=True)
    times = FloatInput(default=2.0, min=0.0, max=9.0, step=1.0)
    out = StringOutput()

    def execute(self, text, times):
        return (" ".join([text] * int(times)),)

class Dim(ComfyUINode):
    category = 'mine/image'
    image = ImageInput()
    by = FloatInput(default=0.5)
    dimmed = ImageOutput()

    def execute(self, image, by):
        return (image * by,)

NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = export_nodes([Words, Dim])
