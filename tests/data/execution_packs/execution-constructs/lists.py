"""Lists on links, and values that grow."""
from .tools import ANY, variadic


@variadic
class MakeList:
    VARIADIC = "*"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value1": (ANY,)}}

    INPUT_IS_LIST = True
    OUTPUT_IS_LIST = (True,)
    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, value1, **kwargs):
        return (value1 + [item for name in sorted(kwargs) for item in kwargs[name]],)


class TakesList:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": (ANY,), "sep": ("STRING", {"default": ","})}, "hidden": {"me": "UNIQUE_ID"}}

    INPUT_IS_LIST = True
    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    def go(self, values, sep, me):
        return (sep[0].join(str(it) for it in values) + f"@{me[0]}",)


class Accumulate:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"to_add": (ANY,)}, "optional": {"accumulation": ("ACCUMULATION",)}}

    RETURN_TYPES = ("ACCUMULATION",)
    FUNCTION = "go"

    def go(self, to_add, accumulation=None):
        return ({"accum": [*(accumulation or {"accum": []})["accum"], to_add]},)


class AccumulationToList:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"accumulation": ("ACCUMULATION",)}}

    OUTPUT_IS_LIST = (True,)
    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, accumulation):
        return (accumulation["accum"],)


class EmptyList:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    OUTPUT_IS_LIST = (True,)
    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self):
        return ([],)


NODE_CLASS_MAPPINGS = {
    "ExMakeList": MakeList, "ExTakesList": TakesList, "ExAccumulate": Accumulate,
    "ExAccumulationToList": AccumulationToList, "ExEmptyList": EmptyList,
}
