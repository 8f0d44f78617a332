"""Every construct that nodes of ComfyUI's protocols may use, one small node each, in files as authors sort them."""
from .async_nodes import NODE_CLASS_MAPPINGS as ASYNC
from .conditions import NODE_CLASS_MAPPINGS as CONDITIONS
from .expanding import NODE_CLASS_MAPPINGS as EXPANDING
from .lists import NODE_CLASS_MAPPINGS as LISTS
from .loops import NODE_CLASS_MAPPINGS as LOOPS
from .plain import NODE_CLASS_MAPPINGS as PLAIN
from .validating import NODE_CLASS_MAPPINGS as VALIDATING

NODE_CLASS_MAPPINGS = {**PLAIN, **VALIDATING, **CONDITIONS, **EXPANDING, **LOOPS, **LISTS, **ASYNC}
NODE_DISPLAY_NAME_MAPPINGS = {name: name.removeprefix("Ex") for name in NODE_CLASS_MAPPINGS}
