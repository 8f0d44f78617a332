"""Async functions, checks and expansions, and progress in both versions of the interface."""
import asyncio
import time

import torch
from comfy.utils import ProgressBar
from comfy_api.latest import ComfyAPI, ComfyAPISync
from comfy_execution.graph_utils import GraphBuilder

from .tools import ANY

api = ComfyAPI()
api_sync = ComfyAPISync()


class Sleep:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "seconds": ("FLOAT", {"default": 0.1, "min": 0.0, "max": 60.0})},
                "hidden": {"unique_id": "UNIQUE_ID"}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "sleep"
    now = 0
    most = 0

    async def sleep(self, value, seconds, unique_id):
        bar = ProgressBar(2, node_id=unique_id)
        Sleep.now += 1
        Sleep.most = max(Sleep.most, Sleep.now)
        bar.update(1)
        await asyncio.sleep(seconds)
        bar.update(1)
        Sleep.now -= 1
        return (value,)


class MostAtOnce:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,)}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "go"

    def go(self, value):
        most, Sleep.most = Sleep.most, 0
        return (most,)


class ParallelSleep:
    """Expands to sleepers that sleep at the same time."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {f"image{i}": ("IMAGE",) for i in (1, 2, 3)} | {f"sleep{i}": ("FLOAT",) for i in (1, 2, 3)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    def go(self, **kwargs):
        g = GraphBuilder()
        slept = [g.node("ExSleep", value=kwargs[f"image{i}"], seconds=kwargs[f"sleep{i}"]).out(0) for i in (1, 2, 3)]
        average = g.node("ExVariadicAverage", input1=slept[0], input2=slept[1], input3=slept[2])
        return {"result": (average.out(0),), "expand": g.finalize()}


class AsyncValidated:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("FLOAT", {"default": 5.0}), "threshold": ("FLOAT", {"default": 10.0})}}

    @classmethod
    async def VALIDATE_INPUTS(cls, value, threshold):
        await asyncio.sleep(0.01)
        return True if value <= threshold else f"{value} is more than {threshold}"

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    async def go(self, value, threshold):
        return (torch.ones([1, 8, 8, 3]) * value / threshold,)


class AsyncError:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "after": ("FLOAT", {"default": 0.01})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    async def go(self, value, after):
        await asyncio.sleep(after)
        raise RuntimeError("Intentional async execution error for testing")


class AsyncTimeout:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "timeout": ("FLOAT", {"default": 1.0}), "takes": ("FLOAT", {"default": 2.0})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    async def go(self, value, timeout, takes):
        try:
            await asyncio.wait_for(asyncio.sleep(takes), timeout=timeout)
        except asyncio.TimeoutError:
            raise RuntimeError(f"Operation timed out after {timeout} seconds")
        return (value,)


class AsyncLazy:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"input1": (ANY, {"lazy": True}), "input2": (ANY, {"lazy": True}), "condition": ("BOOLEAN", {"default": True})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    async def check_lazy_status(self, condition, input1, input2):
        await asyncio.sleep(0.01)
        name = "input1" if condition else "input2"
        return [name] if {"input1": input1, "input2": input2}[name] is None else []

    async def go(self, condition, input1=None, input2=None):
        return (input1 if condition else input2,)


class AsyncGeneration:
    """An async function that expands to async nodes."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image1": ("IMAGE",), "image2": ("IMAGE",), "num_async_nodes": ("INT", {"default": 3, "min": 1, "max": 10}),
                             "sleep_duration": ("FLOAT", {"default": 0.05})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    async def go(self, image1, image2, num_async_nodes, sleep_duration):
        await asyncio.sleep(0)
        g = GraphBuilder()
        slept = [g.node("ExSleep", value=image2 if i % 2 else image1, seconds=sleep_duration).out(0) for i in range(num_async_nodes)]
        average = g.node("ExVariadicAverage", **{f"input{i + 1}": it for i, it in enumerate(slept)})
        return {"result": (average.out(0),), "expand": g.finalize()}


class AsyncBatch:
    """Many things at once inside of one call."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"unique_id": "UNIQUE_ID"}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"

    async def go(self, images, unique_id):
        bar = ProgressBar(len(images), node_id=unique_id)

        async def one(image):
            await asyncio.sleep(0.01)
            bar.update(1)
            return 1 - image

        return (torch.stack(await asyncio.gather(*map(one, images))),)


class ConcurrentLimit:
    semaphore = asyncio.Semaphore(2)
    now = 0
    most = 0

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "node_id": ("INT", {"default": 0})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    async def go(self, value, node_id):
        async with self.semaphore:
            ConcurrentLimit.now += 1
            ConcurrentLimit.most = max(ConcurrentLimit.most, ConcurrentLimit.now)
            await asyncio.sleep(0.05)
            ConcurrentLimit.now -= 1
        assert ConcurrentLimit.most <= 2
        return (value,)


class AsyncProgress:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "steps": ("INT", {"default": 3})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    async def go(self, value, steps):
        for i in range(steps):
            await asyncio.sleep(0.12)
            await api.execution.set_progress(value=i + 1, max_value=steps)
        return (value,)


class SyncProgress:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {}), "steps": ("INT", {"default": 3})}}

    RETURN_TYPES = (ANY,)
    FUNCTION = "go"

    def go(self, value, steps):
        for i in range(steps):
            time.sleep(0.12)
            api_sync.execution.set_progress(value=i + 1, max_value=steps)
        return (value,)


NODE_CLASS_MAPPINGS = {
    "ExSleep": Sleep, "ExMostAtOnce": MostAtOnce, "ExParallelSleep": ParallelSleep, "ExAsyncValidated": AsyncValidated,
    "ExAsyncError": AsyncError, "ExAsyncTimeout": AsyncTimeout, "ExAsyncLazy": AsyncLazy, "ExAsyncGeneration": AsyncGeneration,
    "ExAsyncBatch": AsyncBatch, "ExConcurrentLimit": ConcurrentLimit, "ExAsyncProgress": AsyncProgress,
    "ExSyncProgress": SyncProgress,
}
