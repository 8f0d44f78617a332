"""Classes that check their inputs themselves."""
import torch


class Validated:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("IMAGE,FLOAT",), "input2": ("IMAGE,FLOAT",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self, input1, input2):
        if isinstance(input1, float) and isinstance(input2, float):
            return (torch.ones([1, 64, 64, 3]) * input1 * input2,)
        return (input1 * input2,)


class ByValue(Validated):
    @classmethod
    def VALIDATE_INPUTS(cls, input1, input2):
        for value in (input1, input2):
            if value is not None and not isinstance(value, (torch.Tensor, float)):
                return f"Invalid type: {type(value)}"
        return True


class ByType(Validated):
    @classmethod
    def VALIDATE_INPUTS(cls, input_types, input2):
        for name in ("input1", "input2"):
            if name in input_types and input_types[name] not in ("IMAGE", "FLOAT"):
                return f"Invalid type of {name}: {input_types[name]}"
        return True


class ByTypeOfAny(ByType):
    """Declares a type that nothing has, and takes what its check lets through."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("IMAGE,FLOAT",), "input2": ("IMAGE,FLOAT",)}}


class ByBoth(Validated):
    @classmethod
    def VALIDATE_INPUTS(cls, input1, input2):
        if input1 is not None and input2 is not None and input1 == input2:
            return "the two are the same"
        return True


class ByName(Validated):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": ("IMAGE,FLOAT",), "input2": ("FLOAT", {"default": 0.5, "max": 1.0})}}

    @classmethod
    def VALIDATE_INPUTS(cls, **kwargs):
        return True if kwargs["input2"] == 7.0 else "input2 is not 7"


class ByFalse(Validated):
    @classmethod
    def VALIDATE_INPUTS(cls, input2):
        return False


class ByError(Validated):
    @classmethod
    def VALIDATE_INPUTS(cls, input2):
        raise KeyError("its check breaks")


NODE_CLASS_MAPPINGS = {
    "ExByValue": ByValue, "ExByType": ByType, "ExByTypeOfAny": ByTypeOfAny, "ExByBoth": ByBoth, "ExByName": ByName,
    "ExByFalse": ByFalse, "ExByError": ByError,
}
