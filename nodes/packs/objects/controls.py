"""CONTROL_NET as packs hold it: a network, and once it has a picture, what steers a text by it, each with the one before."""

from __future__ import annotations

from torch import Tensor, nn

from models.types import AdapterModel, Control, ControlLoraModel, ControlModel
from nodes.packs.host import Host
from nodes.packs.objects.handles import Handle

HINTED = "a control of a pack's own (get_control) is not asked here"


class ControlBase:
    """What packs' own controls inherit from, which nothing here would ask: so it cannot be made."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError(f"{type(self).__name__}: {HINTED}")


class PackControl(Handle[ControlModel[nn.Module]], ControlBase):
    """A CONTROL_NET. cond_hint_original: the picture that it has, [B, C, H, W] in 0..1."""

    def __init__(self, handle: ControlModel[nn.Module], host: Host, given: Control | None = None) -> None:
        Handle.__init__(self, handle, host)
        self.cond_hint_original: Tensor | None = None if given is None else given.hint.movedim(-1, 1).clone()
        self.strength = 1.0 if given is None else given.strength
        self.timestep_percent_range = (0.0, 1.0) if given is None else (given.start, given.end)
        self.previous_controlnet: PackControl | None = None
        self._mask = None if given is None else given.mask
        self._given = given

    def __eq__(self, other: object) -> bool:
        """Packs ask whether they have met what a text holds: it stands in the positive and in the negative one."""
        return isinstance(other, PackControl) and self._known_by() == other._known_by()

    def __hash__(self) -> int:
        return hash(self._known_by())

    def _known_by(self) -> tuple[int, ...]:
        before = () if self.previous_controlnet is None else self.previous_controlnet._known_by()
        return (*before, id(self if self._given is None else self._given))

    def copy(self) -> PackControl:
        """Another one of the same network, without those before it, to be given a picture."""
        made = type(self)(self._own, self._host)
        made.cond_hint_original, made.strength = self.cond_hint_original, self.strength
        made.timestep_percent_range, made._mask = self.timestep_percent_range, self._mask
        return made

    def set_cond_hint(
        self,
        cond_hint: Tensor,
        strength: float = 1.0,
        timestep_percent_range: tuple[float, float] = (0.0, 1.0),
        *_: object,
        **__: object,
    ) -> PackControl:
        """Steer by a picture [B, C, H, W], so strongly, between these parts of the way from noise to picture."""
        self.cond_hint_original, self.strength = cond_hint, float(strength)  # which two texts may share
        self.timestep_percent_range = (float(timestep_percent_range[0]), float(timestep_percent_range[1]))
        self._given = None
        return self

    def set_previous_controlnet(self, controlnet: PackControl | None) -> PackControl:
        """Steer by another one as well."""
        self.previous_controlnet = controlnet
        return self

    def get_models(self) -> list[object]:
        """None that would have to be loaded: that is done where they are asked."""
        return []

    def pre_run(self, *_: object) -> None:
        """Nothing."""

    def cleanup(self) -> None:
        """Nothing."""

    def controls(self, for_all: bool) -> tuple[Control, ...]:
        """As our texts hold them, those before first. for_all: those that have a new picture count with negative texts too.
        Raises ValueError for one without a picture."""
        before = () if self.previous_controlnet is None else self.previous_controlnet.controls(for_all)
        if self.cond_hint_original is None:
            raise ValueError("a CONTROL_NET steers by a picture, which set_cond_hint gives it")
        if self._given is None:
            start, end = self.timestep_percent_range
            hint = self.cond_hint_original.detach().float().cpu().movedim(1, -1)
            self._given = Control(self._own, hint, self.strength, start, end, for_all, self._mask)
        return (*before, self._given)


class ControlNet(PackControl):
    """A ControlNet."""


class ControlLora(ControlNet):
    """A Control-LoRA."""


class T2IAdapter(PackControl):
    """A T2I-Adapter."""


def control_of(handle: ControlModel[nn.Module], host: Host, given: Control | None = None) -> PackControl:
    """A network as packs hold it. given: with what it has been given to steer by."""
    match handle:
        case ControlLoraModel():
            return ControlLora(handle, host, given)
        case AdapterModel():
            return T2IAdapter(handle, host, given)
        case _:
            return ControlNet(handle, host, given)


def chained(controls: tuple[Control, ...], host: Host) -> PackControl | None:
    """All that a text holds, as its last one."""
    last: PackControl | None = None
    for given in controls:
        last = control_of(given.model, host, given).set_previous_controlnet(last)
    return last
