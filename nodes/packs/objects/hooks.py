"""What packs hang on a MODEL besides patches: functions around parts of sampling, callbacks, injections, attachments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Never

from nodes.packs.objects.options import Options
from nodes.packs.objects.wrappers import WRAPPED, wrappers_of


class CallbacksMP(StrEnum):
    """When functions are called, by the names that packs have for it."""

    ON_CLONE = "on_clone"
    ON_LOAD = "on_load_after"
    ON_DETACH = "on_detach_after"
    ON_CLEANUP = "on_cleanup"
    ON_PRE_RUN = "on_pre_run"
    ON_PREPARE_STATE = "on_prepare_state"
    ON_APPLY_HOOKS = "on_apply_hooks"
    ON_REGISTER_ALL_HOOK_PATCHES = "on_register_all_hook_patches"
    ON_INJECT_MODEL = "on_inject_model"
    ON_EJECT_MODEL = "on_eject_model"


CALLED = frozenset({"on_clone", "on_pre_run", "on_cleanup", "on_inject_model", "on_eject_model"})
"""Those that there is an occasion for here."""


@dataclass
class PatcherInjection:
    """What is done to a model before it samples, and undone after: functions of the MODEL."""

    inject: Callable[[Any], Any]
    eject: Callable[[Any], Any]


class Hooked:
    """The methods by which packs hang these on a MODEL, all of which are kept in `model_options`."""

    model_options: Options

    def add_wrapper(self, wrapper_type: str, wrapper: Callable[..., Any]) -> None:
        """One more function around a part of sampling. See `add_wrapper_with_key`."""
        self.add_wrapper_with_key(wrapper_type, None, wrapper)

    def add_wrapper_with_key(self, wrapper_type: str, key: str | None, wrapper: Callable[..., Any]) -> None:
        """f(executor, …) around a part of sampling. Raises AttributeError for parts that there are not here."""
        if wrapper_type not in WRAPPED:
            self._missed(f"add_wrapper_with_key({str(wrapper_type)!r})")
        self._inside("wrappers").setdefault(str(wrapper_type), {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: str) -> None:
        """Take away those of a key."""
        self._inside("wrappers").get(str(wrapper_type), {}).pop(key, None)

    def get_wrappers(self, wrapper_type: str, key: str) -> list[Callable[..., Any]]:
        """Those of a key."""
        return list(self._inside("wrappers").get(str(wrapper_type), {}).get(key, ()))

    def get_all_wrappers(self, wrapper_type: str) -> list[Callable[..., Any]]:
        """All around one part."""
        return wrappers_of(self.model_options["transformer_options"], str(wrapper_type))

    def add_callback(self, call_type: str, callback: Callable[..., Any]) -> None:
        """One more function that is called on an occasion. See `add_callback_with_key`."""
        self.add_callback_with_key(call_type, None, callback)

    def add_callback_with_key(self, call_type: str, key: str | None, callback: Callable[..., Any]) -> None:
        """f(MODEL) before and after a sampling or an injection, f(MODEL, its clone). Raises AttributeError for others."""
        if call_type not in CALLED:
            self._missed(f"add_callback_with_key({str(call_type)!r})")
        self._kept("callbacks").setdefault(str(call_type), {}).setdefault(key, []).append(callback)

    def remove_callbacks_with_key(self, call_type: str, key: str) -> None:
        """Take away those of a key."""
        self._kept("callbacks").get(str(call_type), {}).pop(key, None)

    def get_callbacks(self, call_type: str, key: str) -> list[Callable[..., Any]]:
        """Those of a key."""
        return list(self.model_options.get("callbacks", {}).get(str(call_type), {}).get(key, ()))

    def get_all_callbacks(self, call_type: str) -> list[Callable[..., Any]]:
        """All on one occasion."""
        return callbacks_of(self.model_options, str(call_type))

    def set_injections(self, key: str, injections: Sequence[PatcherInjection]) -> None:
        """What is done to the MODEL before it samples."""
        self._kept("injections")[key] = list(injections)

    def get_injections(self, key: str) -> list[PatcherInjection] | None:
        """Those of a key."""
        found: list[PatcherInjection] | None = self.model_options.get("injections", {}).get(key)
        return found

    def remove_injections(self, key: str) -> None:
        """Take them away."""
        self._kept("injections").pop(key, None)

    def set_attachments(self, key: str, attachment: Any) -> None:
        """Keep something with the MODEL."""
        self._kept("attachments")[key] = attachment

    def get_attachment(self, key: str) -> Any:
        """What was kept; None if nothing was."""
        return self.model_options.get("attachments", {}).get(key)

    def remove_attachments(self, key: str) -> None:
        """Take it away."""
        self._kept("attachments").pop(key, None)

    def _kept(self, kind: str) -> Options:
        found: Options = self.model_options.setdefault(kind, {})
        return found

    def _inside(self, kind: str) -> Options:
        found: Options = self.model_options.setdefault("transformer_options", {}).setdefault(kind, {})
        return found

    def _missed(self, name: str) -> Never:
        raise NotImplementedError


def callbacks_of(options: Mapping[str, Any], occasion: str) -> list[Callable[..., Any]]:
    """All functions for one occasion, by whichever keys."""
    return [one for given in options.get("callbacks", {}).get(occasion, {}).values() for one in given]


@contextmanager
def prepared(options: Mapping[str, Any], model: Any) -> Iterator[None]:
    """A sampling of `model`, before and after which callbacks and injections are called."""

    def call(occasion: str) -> None:
        for callback in callbacks_of(options, occasion):
            callback(model)

    injections = [one for given in options.get("injections", {}).values() for one in given]
    call("on_pre_run")
    try:
        for one in injections:
            one.inject(model)
        if injections:
            call("on_inject_model")
        yield
    finally:
        for one in reversed(injections):
            one.eject(model)
        if injections:
            call("on_eject_model")
        call("on_cleanup")
