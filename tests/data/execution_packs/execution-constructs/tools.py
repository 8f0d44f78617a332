"""What the other files share."""


class Wildcard(str):
    """A type that differs from none."""

    def __ne__(self, other):
        return False


ANY = Wildcard("*")


class Variadic(dict):
    """Declares any input of a kind: `image1`, `image2`, …"""

    def __init__(self, kind, known=()):
        super().__init__(known)
        self.kind = kind

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return super().get(key, (self.kind,))


def variadic(cls):
    """Have a class take any further optional inputs."""
    declared = cls.INPUT_TYPES

    def INPUT_TYPES(c):
        types = declared()
        types["optional"] = Variadic(cls.VARIADIC, types.get("optional", {}))
        return types

    cls.INPUT_TYPES = classmethod(INPUT_TYPES)
    return cls
