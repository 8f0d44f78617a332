from nodes import MAX_RESOLUTION  # in a submodule too this is ComfyUI's module


def shout(text):
    assert MAX_RESOLUTION == 16384
    return text.upper()
