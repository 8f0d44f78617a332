"""A pack that does with ComfyUI's own modules what public packs do: core nodes as helpers, files, other networks."""
import asyncio
import copy
import os
import threading

import torch

import comfy.clip_vision
import comfy.controlnet
import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.model_sampling
import comfy.ops
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import nodes
from comfy.ldm.modules.attention import optimized_attention
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from comfy_extras.nodes_mask import composite
from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel, UpscaleModelLoader
from server import PromptServer

SEEN = []
KEPT = {}


class Anything(str):
    def __ne__(self, other):
        return False


class Keep:
    """Keeps what it is given, for the test to look at."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {}), "value": (Anything("*"),)}}

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "go"

    @classmethod
    def IS_CHANGED(cls, **given):
        return float("nan")

    def go(self, name, value):
        KEPT[name] = value
        return {}


class One:
    """One input of each kind, and what to do with it."""

    @classmethod
    def INPUT_TYPES(cls):
        kinds = {name: (name.upper(),) for name in ("model", "clip", "vae", "image", "mask", "latent", "control_net", "clip_vision", "upscale_model",
                                                    "clip_vision_output", "style_model", "latent_operation")}
        return {"required": {"what": ("STRING", {})},
                "optional": {**kinds, "positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "name": ("STRING", {}), "amount": ("FLOAT", {"default": 1.0})}}

    RETURN_TYPES = (Anything("*"), "CONDITIONING", "CONDITIONING")
    FUNCTION = "go"

    def go(self, what, **given):
        made = getattr(self, what)(**given)
        return made if isinstance(made, tuple) else (made, None, None)

    # core nodes by their methods, whose order of arguments is their own

    def there_and_back(self, vae, image, **_):
        latent = nodes.VAEEncode().encode(vae, image)[0]
        return nodes.VAEDecode().decode(vae, latent)[0]

    def in_tiles(self, vae, image, **_):
        latent = nodes.VAEEncodeTiled().encode(vae, image, 64, overlap=16)[0]
        return nodes.VAEDecodeTiled().decode(vae, latent, 64, 16)[0]

    def text(self, clip, name, **_):
        return (None, nodes.CLIPTextEncode().encode(clip, name)[0], None)

    def sample(self, model, positive, negative, latent, **_):
        return nodes.KSampler().sample(model, 3, 2, 4.0, "euler", "normal", positive, negative, latent, 1.0)[0]

    def masked(self, positive, mask, **_):
        return (None, nodes.ConditioningSetMask().append(positive, mask, "default", 0.5)[0], None)

    def inpaint(self, vae, image, mask, **_):
        return nodes.VAEEncodeForInpaint().encode(vae, image, mask, 2)[0]

    def keyed(self, positive, negative, control_net, image, **_):
        return (None, *nodes.ControlNetApplyAdvanced().apply_controlnet(positive, negative, control_net, image, 0.75, 0.0, 0.5))

    # a text in tokens

    def tokens(self, clip, name, **_):
        tokens = clip.tokenize(name)
        assert all(len(chunk) == 77 and len(chunk[0]) == 2 for chunks in tokens.values() for chunk in chunks)
        SEEN.append(sorted(tokens))
        cond, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
        return (None, [[cond, {"pooled_output": pooled}]], None)

    def heavier(self, clip, name, amount, **_):
        """Every word at another weight, as prompt languages of packs do it."""
        tokens = clip.tokenize(name, return_word_ids=True)
        changed = {key: [[(t, w * amount if word else w, word) for t, w, word in chunk] for chunk in chunks] for key, chunks in tokens.items()}
        return (None, clip.encode_from_tokens_scheduled(changed), None)

    def layer(self, clip, name, **_):
        other = clip.clone()
        other.clip_layer(-2)
        return (None, other.encode_from_tokens_scheduled(other.tokenize(name)), None)

    # files

    def from_file(self, name, **_):
        return comfy.sd.load_checkpoint_guess_config(folder_paths.get_full_path_or_raise("checkpoints", name), output_vae=True, output_clip=True)[:1] + (None, None)

    def vae_of(self, name, image, **_):
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(folder_paths.get_full_path("checkpoints", name)))
        assert isinstance(vae, comfy.sd.VAE)
        return vae.decode_tiled(vae.encode_tiled(image[:, :, :, :3], tile_x=64, tile_y=64, overlap=16), tile_x=8, tile_y=8, overlap=2)

    def lora_in_steps(self, model, clip, name, **_):
        lora = comfy.utils.load_torch_file(folder_paths.get_full_path("loras", name), safe_load=True)
        keys = comfy.lora.model_lora_keys_unet(model.model, {})
        loaded = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_clip(clip, keys))
        m = model.clone()
        assert set(m.add_patches(loaded, 0.5)) == set(loaded)
        return m

    # other networks

    def control(self, positive, negative, control_net, image, amount, **_):
        """ControlNetApplyAdvanced, as packs write their own."""
        assert isinstance(control_net, comfy.controlnet.ControlBase) and isinstance(control_net, comfy.controlnet.ControlNet)
        hint, made, known = image.movedim(-1, 1), [], {}
        for conditioning in (positive, negative):
            entries = []
            for tokens, options in conditioning:
                d = options.copy()
                before = d.get("control", None)
                if before not in known:
                    known[before] = control_net.copy().set_cond_hint(hint, amount, (0.0, 0.5), None)
                    known[before].set_previous_controlnet(before)
                d["control"], d["control_apply_to_uncond"] = known[before], False
                entries.append([tokens, d])
            made.append(entries)
        SEEN.append(len(known))
        return (None, *made)

    def look(self, clip_vision, image, **_):
        seen = clip_vision.encode_image(image, crop=True)
        assert torch.equal(seen["image_embeds"], seen.image_embeds)
        return seen

    def looked(self, clip_vision_output, **_):
        made = comfy.clip_vision.Output()
        made["image_embeds"] = clip_vision_output.image_embeds * 2
        made.last_hidden_state, made.penultimate_hidden_states = clip_vision_output["last_hidden_state"], clip_vision_output.penultimate_hidden_states
        return made

    def enlarge(self, upscale_model, image, **_):
        device = comfy.model_management.get_torch_device()
        upscale_model.to(device)
        x = image.movedim(-1, -3).to(device)
        steps = comfy.utils.get_tiled_scale_steps(x.shape[3], x.shape[2], tile_x=512, tile_y=512, overlap=32)
        pbar = comfy.utils.ProgressBar(x.shape[0] * steps)
        s = comfy.utils.tiled_scale(x, lambda a: upscale_model(a), tile_x=512, tile_y=512, overlap=32, upscale_amount=upscale_model.scale, pbar=pbar)
        return torch.clamp(s.movedim(-3, -1), min=0, max=1.0)

    def enlarge_by_node(self, name, image, **_):
        model = UpscaleModelLoader().load_model(name)[0]
        one = ImageUpscaleWithModel().upscale(model, image)[0]
        assert torch.equal(one, ImageUpscaleWithModel.execute(model, image).result[0])
        return one

    def operate(self, latent_operation, latent, **_):
        return {"samples": latent_operation(latent=latent["samples"])}

    # keys of prompts

    def beside(self, positive, latent, mask, **_):
        import node_helpers

        return (None, node_helpers.conditioning_set_values(positive, {"concat_latent_image": latent["samples"], "concat_mask": mask}), None)

    def hooked(self, positive, **_):
        return (None, [[t, {**o, "hooks": object()}] for t, o in positive], None)

    # what a model is

    def facts(self, model, **_):
        sampling = copy.deepcopy(model.get_model_object("model_sampling"))
        kinds = [isinstance(model.model, kind) for kind in (comfy.model_base.BaseModel, comfy.model_base.SDXL)]
        SEEN.append((model.model.model_type.name, kinds, model.model.is_adm(), len(sampling.sigmas), sampling.num_timesteps))
        return torch.zeros(1, 8, 8, 3)

    def merged(self, model, name, amount, **_):
        """ModelMergeSimple, as packs write their own."""
        other = comfy.sd.load_checkpoint_guess_config(folder_paths.get_full_path("checkpoints", name))[0]
        assert not model.is_clone(other) and model.is_clone(model.clone()) and model.model_size() == other.model_size() > 0
        m = model.clone()
        for key, weight in other.get_key_patches("diffusion_model.").items():
            m.add_patches({key: weight}, 1.0 - amount, amount)
        return m

    def read(self, model, **_):
        name = "diffusion_model.input_blocks.0.0.weight"
        whole = model.model_state_dict("diffusion_model.input_blocks.0.0.")
        assert sorted(whole) == ["diffusion_model.input_blocks.0.0.bias", name]
        SEEN.append(whole[name])
        return torch.zeros(1, 8, 8, 3)

    def network(self, model, **_):
        unet = model.model.diffusion_model
        SEEN.append((unet.dtype, unet.in_channels, model.model.model_config.unet_config["num_res_blocks"]))
        return unet.input_blocks

    def continuous(self, model, **_):
        class Sampling(comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.V_PREDICTION):
            pass

        sampling = Sampling(model.model.model_config)
        sampling.set_parameters(0.002, 120.0, 1.0)
        m = model.clone()
        m.add_object_patch("model_sampling", sampling)
        return m

    def flow(self, model, **_):
        class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.CONST):
            pass

        m = model.clone()
        m.add_object_patch("model_sampling", Sampling(model.model.model_config))
        return m

    # samplers

    def ksampler(self, model, positive, negative, latent, **_):
        sampler = comfy.samplers.KSampler(model, steps=3, device=model.load_device, sampler="euler", scheduler="normal", denoise=1.0, model_options=model.model_options)
        assert len(sampler.sigmas) == 4
        noise = comfy.sample.prepare_noise(latent["samples"], 3)
        return {"samples": sampler.sample(noise, positive, negative, cfg=4.0, latent_image=latent["samples"], seed=3)}

    def added(self, model, positive, negative, latent, **_):
        """A schedule and a sampler of the pack's own, by their names."""
        import comfy.k_diffusion.sampling as functions

        def levels(n, sigma_min, sigma_max):
            return functions.get_sigmas_karras(n, sigma_min, sigma_max)

        comfy.samplers.SCHEDULER_HANDLERS["mine"] = comfy.samplers.SchedulerHandler(levels, use_ms=False)
        setattr(functions, "sample_mine", lambda *given, **named: functions.sample_euler(*given, **named))
        noise = comfy.sample.prepare_noise(latent["samples"], 3)
        return {"samples": comfy.sample.sample(model, noise, 3, 4.0, "mine", "mine", positive, negative, latent["samples"], seed=3)}

    # small things

    def small(self, image, mask, **_):
        dest, source = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 4, 4)
        assert composite(dest, source, 2, 3, multiplier=1)[0, 0].nonzero().tolist() == [[y, x] for y in range(3, 7) for x in range(2, 6)]
        assert composite(dest, source, 16, -8, multiplier=8)[0, 0].nonzero().tolist() == [[y, x] for y in range(3) for x in range(2, 6)]
        assert composite(dest, source, 9, 0, multiplier=1).sum() == 0
        folder_paths.add_model_folder_path("mine", "/a/folder")
        folder_paths.add_model_folder_path("loras", "/another/folder")
        assert folder_paths.get_folder_paths("loras")[-1] == "/another/folder" and folder_paths.get_folder_paths("mine") == ["/a/folder"]
        x = torch.rand(1, 3, 40, 24)
        made = comfy.utils.tiled_scale_multidim(x, lambda a: a.repeat_interleave(2, 2).repeat_interleave(2, 3), tile=(16, 12), overlap=4, upscale_amount=2)
        assert torch.allclose(made, x.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)
        half = composite(dest, source, 0, 0, torch.full((1, 4, 4), 0.5), multiplier=1)
        assert half[0, 0, 0, 0] == 0.5 and half.sum() == 0.5 * 48
        q, k, v = (torch.randn(2, n, 16) for n in (5, 7, 7))
        by_hand = torch.cat([torch.softmax(a @ b.transpose(1, 2) / 2, -1) @ c for a, b, c in zip(q.split(4, -1), k.split(4, -1), v.split(4, -1))], -1)
        assert torch.allclose(optimized_attention(q, k, v, 4), by_hand, atol=1e-5)
        layer = comfy.ops.manual_cast.Linear(4, 2)
        layer.load_state_dict({"weight": torch.eye(4)[:2], "bias": torch.ones(2)})
        assert layer(torch.arange(4.0).bfloat16()).tolist() == [1.0, 2.0] and layer(torch.zeros(4).half()).dtype == torch.float16
        assert comfy.ops.disable_weight_init.Conv2d(1, 1, 3)(torch.zeros(1, 1, 3, 3)).shape == (1, 1, 1, 1)
        assert comfy.sampler_helpers.prepare_mask(torch.ones(16, 16), (2, 4, 2, 2), "cpu").shape == (2, 4, 2, 2)
        tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(5, dtype=torch.float16)}
        path = os.path.join(folder_paths.get_temp_directory(), "it.safetensors")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        comfy.utils.save_torch_file(tensors, path, metadata={"k": "v"})
        from comfy.cli_args import LatentPreviewMethod, args
        from comfy.types import UnetWrapperFunction
        from comfy_execution.utils import get_executing_context

        assert UnetWrapperFunction and args.preview_method is LatentPreviewMethod.NoPreviews and not args.lowvram
        assert get_executing_context().node_id == "x" and folder_paths.recursive_search(folder_paths.get_temp_directory())[0] == ["it.safetensors"]
        assert folder_paths.filter_files_extensions(["b.png", "a.png", "c.txt"], [".png"]) == ["a.png", "b.png"]
        try:
            args.flag_of_tomorrow
        except AttributeError as error:
            assert "Darkroom's stand-in for comfy.cli_args.args has no 'flag_of_tomorrow'" in str(error)
        read, said = comfy.utils.load_torch_file(path, return_metadata=True)
        assert said == {"k": "v"} and comfy.utils.calculate_parameters(read) == 11 and comfy.utils.weight_dtype(read) == torch.float32
        assert comfy.utils.resize_to_batch_size(torch.tensor([[0.0], [1.0]]), 3).tolist() == [[0.0], [0.5], [1.0]]
        assert Noise_RandomNoise(3).generate_noise({"samples": torch.zeros(1, 4, 8, 8)}).equal(comfy.sample.prepare_noise(torch.zeros(1, 4, 8, 8), 3))
        return image

    def beside_nodes(self, **_):
        """What runs in the loop of the server, as packs think of it."""
        loop, done = PromptServer.instance.loop, threading.Event()

        async def later(n):
            await PromptServer.instance.send("help.later", {"n": n})
            return n

        async def last():
            await later(2)
            done.set()

        assert asyncio.run_coroutine_threadsafe(later(1), loop).result(10) == 1
        loop.create_task(last())
        assert done.wait(10)
        return torch.zeros(1, 8, 8, 3)

    def of_another(self, name, **_):
        """A node of another pack, and one of a typed function, by the table of all."""
        return nodes.NODE_CLASS_MAPPINGS[name]().say("ho", 1, "loud", suffix="!", prompt={"1": {"class_type": name}}, me="1")[0]


class Choose:
    """Choices that are no texts, and one that the class checks itself."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"scale": ([1, 2, 4],), "rate": ([0.5, 1.5],), "on": ([True, False],), "name": (["a", "b"],)}}

    @classmethod
    def VALIDATE_INPUTS(cls, name):
        return True if name in ("a", "b", "later") else f"no {name}"

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    def go(self, scale, rate, on, name):
        return (repr((scale, rate, on, name)),)


class PutThere:
    """Put into the table by the pack itself."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "go"

    def go(self):
        return ("there",)


nodes.NODE_CLASS_MAPPINGS["HelpPutThere"] = PutThere
nodes.EXTENSION_WEB_DIRS["helpers-elsewhere"] = os.path.join(os.path.dirname(os.path.realpath(__file__)), "scripts")
NODE_CLASS_MAPPINGS = {"HelpKeep": Keep, "HelpOne": One, "HelpChoose": Choose}
