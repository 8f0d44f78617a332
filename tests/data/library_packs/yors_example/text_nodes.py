CURRENT_CATEGORY="ymc/text"
CURRENT_FUNCTION="exec"

class TextInput:
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"text": ("STRING",{"multiline": True,"default": ""})}}
    RETURN_TYPES = ("STRING",)
    CATEGORY = CURRENT_CATEGORY
    FUNCTION = CURRENT_FUNCTION
    NODE_DESC = "multiline text"
    INPUT_IS_LIST = False
    OUTPUT_IS_LIST = (False,)
    def exec(self,**kwargs):
        return (kwargs.get("text",""),)


class TextTwice:
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"text": ("STRING", {"forceInput": True})}}

    RETURN_TYPES = ("STRING",)
    CATEGORY = CURRENT_CATEGORY
    FUNCTION = CURRENT_FUNCTION
    NODE_DESC = "text twice"
    INPUT_IS_LIST = False
    OUTPUT_IS_LIST = (False,)

    def exec(self, text):
        return (text * 2,)
