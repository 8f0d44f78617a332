"""A folder with a dash and a dot, a web directory, a route, a message, a subclass of a core node."""
import nodes
from server import PromptServer
from aiohttp import web

WEB_DIRECTORY = "./js"


@PromptServer.instance.routes.get("/dashed/hello")
async def hello(request):
    return web.json_response({"hello": "world"})


class SaveBoth(nodes.SaveImage):
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    FUNCTION = "save"
    CATEGORY = "dashed"

    def save(self, images, prompt=None, extra_pnginfo=None):
        PromptServer.instance.send_sync("dashed.saved", {"count": len(images)})
        return self.save_images(images, "dashed", prompt, extra_pnginfo)


class Halve:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "halve"
    CATEGORY = "dashed"

    def halve(self, image):
        scaled = nodes.NODE_CLASS_MAPPINGS["ImageScaleBy"]()
        return getattr(scaled, scaled.FUNCTION)(image, "area", 0.5)


NODE_CLASS_MAPPINGS = {"DashedSaveBoth": SaveBoth, "DashedHalve": Halve}
