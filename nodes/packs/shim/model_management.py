"""`comfy.model_management`: devices and memory. Where weights lie is decided elsewhere; packs may ask and give room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import psutil
import torch

from graph.errors import Interrupted
from models.machine import device_memory
from nodes.packs.host import Host


class VRAMState(Enum):
    """How tight a device's memory is; here always as if there were enough, since weights leave by themselves."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""
    cpu = torch.device("cpu")
    no = _constant(False)
    return {
        **_asked(host),
        **dict.fromkeys(
            ("unet_offload_device", "intermediate_device", "vae_offload_device", "text_encoder_offload_device"),
            _constant(cpu),
        ),
        **dict.fromkeys(
            (
                *("load_models_gpu", "load_model_gpu", "soft_empty_cache", "free_memory", "cleanup_models"),
                *("cleanup_models_gc", "unet_manual_cast", "get_supported_float8_types"),
            ),
            _constant(None),
        ),
        **dict.fromkeys(("unet_dtype", "vae_dtype", "text_encoder_dtype"), _constant(torch.float32)),
        **dict.fromkeys(
            (
                *("should_use_fp16", "should_use_bf16", "is_device_mps", "xformers_enabled", "xformers_enabled_vae"),
                *(
                    "is_intel_xpu",
                    "is_directml_enabled",
                    "mps_mode",
                    "sage_attention_enabled",
                    "flash_attention_enabled",
                ),
                *("supports_fp8_compute", "force_channels_last", "is_amd", "is_ascend_npu", "is_mlu"),
            ),
            no,
        ),
        **dict.fromkeys(("pytorch_attention_enabled", "supports_cast"), _constant(True)),
        "loaded_models": lambda only_currently_used=False: [],
        "current_loaded_models": [],
        "dtype_size": lambda dtype: dtype.itemsize,
        "module_size": _module_size,
        "device_supports_non_blocking": lambda device: torch.device(str(device)).type == "cuda",
        "is_device_cpu": lambda device: torch.device(str(device)).type == "cpu",
        "get_autocast_device": lambda device: torch.device(str(device)).type,
        "cast_to_device": _cast_to_device,
        "OOM_EXCEPTION": torch.OutOfMemoryError,
        "InterruptProcessingException": Interrupted,
        "VRAMState": VRAMState,
        "vram_state": VRAMState.NORMAL_VRAM,
    }


def _constant(value: object) -> Callable[..., object]:
    return lambda *_, **__: value


def _cast_to_device(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype, copy: bool = False) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype, copy=copy)


def _module_size(module: torch.nn.Module) -> int:
    return sum(tensor.nelement() * tensor.element_size() for tensor in module.state_dict().values())


def _asked(host: Host) -> Mapping[str, Callable[..., object]]:
    """What hangs on the node that runs."""

    def get_torch_device() -> torch.device:
        return host.context.services.residency.device if host.running.get() else torch.device("cpu")

    def get_free_memory(dev: object = None, torch_free_too: bool = False) -> object:
        device = get_torch_device() if dev is None else torch.device(str(dev))
        free = psutil.virtual_memory().available if device.type == "cpu" else device_memory(device)[1]
        return (free, free) if torch_free_too else free

    def get_total_memory(dev: object = None, torch_total_too: bool = False) -> object:
        device = get_torch_device() if dev is None else torch.device(str(dev))
        total = psutil.virtual_memory().total if device.type == "cpu" else device_memory(device)[0]
        return (total, total) if torch_total_too else total

    def throw_exception_if_processing_interrupted() -> None:
        if (context := host.running.get()) is not None:
            context.check()

    def processing_interrupted() -> bool:
        context = host.running.get()
        return context is not None and context.run.cancel.is_set

    def cpu_mode() -> bool:
        return get_torch_device().type == "cpu"

    def is_nvidia() -> bool:
        return get_torch_device().type == "cuda"

    def get_torch_device_name(device: object) -> str:
        return str(device)

    def interrupt_current_processing(value: bool = True) -> None:
        if value:
            host.context.run.cancel.set()

    def unload_all_models() -> None:
        host.context.services.residency.clear()

    functions = (
        *(get_torch_device, get_free_memory, get_total_memory),
        *(throw_exception_if_processing_interrupted, processing_interrupted, interrupt_current_processing),
        *(unload_all_models, cpu_mode, is_nvidia, get_torch_device_name),
    )
    named: dict[str, Callable[..., object]] = {function.__name__: function for function in functions}
    others = ("vae_device", "text_encoder_device", "unet_inital_load_device")
    return named | dict.fromkeys(others, get_torch_device)
