"""A pack that changes models, by every setter that there is."""
import torch

import comfy.model_sampling
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
from comfy.model_patcher import ModelPatcher, set_model_options_patch_replace
from comfy.patcher_extension import WrappersMP

SEEN = []
SHAPES = {}  # of the weights, which the test knows


def attention(q, k, v, heads):
    b, n, c = q.shape
    q, k, v = (x.reshape(b, -1, heads, c // heads).permute(0, 2, 1, 3) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / (c // heads) ** 0.5).softmax(-1)
    return (weights @ v).permute(0, 2, 1, 3).reshape(b, n, c)


class Patch:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "what": ("STRING", {}), "amount": ("FLOAT", {"default": 1.0, "min": -9.0})}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    def patch(self, model, what, amount):
        assert isinstance(model, ModelPatcher)
        before = {**model.model_options, "transformer_options": {**model.model_options["transformer_options"]}}
        m = model.clone()
        getattr(self, what)(m, amount)
        assert model.model_options == before, "the clone has settings of its own"
        return (m,)

    def rescale(self, m, multiplier):
        """RescaleCFG, as its public formula has it."""

        def rescale_cfg(args):
            cond, uncond, scale, sigma, x = (args[k] for k in ("cond", "uncond", "cond_scale", "sigma", "input"))
            sigma = sigma.view(sigma.shape[:1] + (1,) * (cond.ndim - 1))
            x_scaled = x / (sigma * sigma + 1.0)
            cond = (x - (x - cond)) * 1.0
            cond_v = (x_scaled - (x - cond)) * (sigma**2 + 1.0) ** 0.5 / sigma
            uncond_v = (x_scaled - (x - uncond)) * (sigma**2 + 1.0) ** 0.5 / sigma
            v = uncond_v + scale * (cond_v - uncond_v)
            ro_pos, ro_cfg = (t.std(dim=(1, 2, 3), keepdim=True) for t in (cond_v, v))
            v = multiplier * v * (ro_pos / ro_cfg) + (1.0 - multiplier) * v
            return x - (x_scaled - v * sigma / (sigma * sigma + 1.0) ** 0.5)

        m.set_model_sampler_cfg_function(rescale_cfg)

    def plain_cfg(self, m, amount):
        m.set_model_sampler_cfg_function(lambda cond, uncond, scale: uncond + (cond - uncond) * scale * amount)

    def post(self, m, amount):
        def post(args):
            SEEN.append(sorted(args))
            return args["uncond_denoised"] + amount * (args["denoised"] - args["uncond_denoised"])

        m.set_model_sampler_post_cfg_function(post)

    def post_always(self, m, amount):
        m.set_model_sampler_post_cfg_function(
            lambda args: args["uncond_denoised"] + amount * (args["denoised"] - args["uncond_denoised"]), disable_cfg1_optimization=True
        )

    def pre(self, m, amount):
        def pre(args):
            cond, uncond = args["conds_out"]
            return [uncond + amount * (cond - uncond), uncond]

        m.set_model_sampler_pre_cfg_function(pre)

    def wrapper(self, m, amount):
        """The network for one text after the other."""

        def wrap(apply_model, args):
            x, t, c, sides = args["input"], args["timestep"], args["c"], args["cond_or_uncond"]
            assert t.shape == x.shape[:1] and sorted(sides) == [0, 1]
            half = len(x) // 2
            parts = []
            for part in (slice(0, half), slice(half, None)):
                parts.append(apply_model(x[part], t[part], **{**c, "c_crossattn": c["c_crossattn"][part]}))
            return torch.cat(parts) * amount

        m.set_model_unet_function_wrapper(wrap)

    def output1(self, m, amount):
        m.set_model_attn1_output_patch(lambda out, extra: out * amount)

    def output2(self, m, amount):
        def output(out, extra):
            SEEN.append((extra["block"], extra["block_index"], extra["n_heads"], extra["dim_head"], sorted(extra["cond_or_uncond"])))
            return out * amount

        m.set_model_attn2_output_patch(output)

    def before2(self, m, amount):
        m.set_model_attn2_patch(lambda q, k, v, extra: (q, k, v * amount))

    def before1(self, m, amount):
        m.set_model_attn1_patch(lambda q, k, v, extra: (q, k, v * amount))

    def replaced(self, m, amount):
        for side, count in (("input", 12), ("output", 12), ("middle", 1)):
            for number in range(count):
                m.set_model_attn1_replace(lambda q, k, v, extra: attention(q, k, v, extra["n_heads"]), side, number)
                m.set_model_attn2_replace(lambda q, k, v, extra: attention(q, k, v, extra["n_heads"]), side, number)

    def blocks(self, m, amount):
        m.set_model_input_block_patch(lambda h, options: h if options["block"][1] else h * amount)

    def skips(self, m, amount):
        """What the next block sees, made up for on the way up."""
        m.set_model_input_block_patch_after_skip(lambda h, options: h * amount if options["block"][1] == 0 else h)

    def first(self, m, amount):
        """What the first convolution gives, by its weights."""
        self.scaled(m, amount, "input_blocks.0.0.")

    def up(self, m, amount):
        m.set_model_output_block_patch(lambda h, skip, options: (h, skip * (amount if options["block"] == ("output", 3) else 1)))

    def weights(self, m, amount):
        """All that attn1 gives, by its last layer's weights."""
        self.scaled(m, amount, ".attn1.to_out.0.")

    def values(self, m, amount):
        self.scaled(m, amount, ".attn1.to_v.")

    def scaled(self, m, amount, part):
        """Weights times a number: half by the model's strength, the rest by a difference and by factors."""
        shapes = {name: shape for name, shape in SHAPES.items() if part in name}
        zeros = {f"diffusion_model.{name}": ("diff", (torch.zeros(shape),)) for name, shape in shapes.items()}
        assert len(m.add_patches({**zeros, "diffusion_model.no.such": ("diff", (torch.zeros(1),))}, 1.0, amount * 2)) == len(shapes) > 0
        assert m.add_patches(zeros, 1.0, 0.5)

    def factors(self, m, amount):
        """The LoRA of the test's file."""
        lora = comfy.utils.load_torch_file(folder_paths.get_full_path("loras", "a.safetensors"))
        up, down = (next(t for name, t in lora.items() if end in name) for end in ("up", "down"))
        m.add_patches({"diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": ("lora", (up, down, None, None, None))}, amount)

    def velocity(self, m, amount):
        class Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
            pass

        m.add_object_patch("model_sampling", Sampling(m.model.model_config))

    def direct(self, m, amount):
        """As packs write into the dictionary themselves."""
        options = m.model_options["transformer_options"]
        options["patches"] = {**options.get("patches", {}), "attn1_output_patch": [lambda out, extra: out * amount]}

    def emb(self, m, amount):
        def patch(emb, channels, options):
            assert emb.shape[1] == 4 * channels and "sigmas" in options
            return emb * amount

        m.set_model_emb_patch(patch)

    def middle(self, m, amount):
        def patch(h, options):
            assert options["block"] == ("middle", 0)
            return h * amount

        m.set_model_patch(patch, "middle_patch")

    def mask(self, m, amount):
        def denoise_mask(sigma, mask, extra_options):
            assert sigma.shape == mask.shape[:1] and len(extra_options["sigmas"]) == 4
            assert extra_options["model"].model_sampling.sigma_max > extra_options["model"].model_sampling.sigma_min
            return mask * amount

        m.set_model_denoise_mask_function(denoise_mask)

    def around_model(self, m, amount):
        def wrapped(executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs):
            assert x.shape[:1] == t.shape == c_crossattn.shape[:1] and transformer_options["cond_or_uncond"]
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs) * amount

        m.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "mine", wrapped)
        m.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "gone", lambda *given: 1 / 0)
        assert len(m.get_wrappers(WrappersMP.APPLY_MODEL, "gone")) == 1 and len(m.get_all_wrappers("apply_model")) == 2
        m.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, "gone")

    def around_network(self, m, amount):
        def wrapped(executor, x, timesteps, context, y=None, control=None, transformer_options={}, **kwargs):
            return executor(x, timesteps, context, y, control, transformer_options, **kwargs) * amount

        m.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "mine", wrapped)

    def around_guided(self, m, amount):
        def wrapped(executor, x, timestep, model_options, seed):
            return executor(x, timestep, model_options, seed) * amount

        m.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "mine", wrapped)

    def around_all(self, m, amount):
        m.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, "mine", lambda executor, *given: executor(*given))

    def perturbed(self, m, amount):
        """Perturbed attention, as packs write it: one estimate more, with other attention in the middle."""

        def post(args):
            options = set_model_options_patch_replace(args["model_options"], lambda q, k, v, extra: v, "attn1", "middle", 0)
            [weak] = comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
            return args["denoised"] + (args["cond_denoised"] - weak) * amount

        m.set_model_sampler_post_cfg_function(post)

    def unknown(self, m, amount):
        m.set_model_patch(lambda h: h, "a_patch_of_tomorrow")


class Lora:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "clip": ("CLIP",), "name": (folder_paths.get_filename_list("loras"),)}}

    RETURN_TYPES = ("MODEL", "CLIP")
    FUNCTION = "load"

    def load(self, model, clip, name):
        lora = comfy.utils.load_torch_file(folder_paths.get_full_path("loras", name), safe_load=True)
        return comfy.sd.load_lora_for_models(model, clip, lora, 0.5, 0.25)


class Facts:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "go"
    OUTPUT_NODE = True

    def go(self, model):
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "karras", 5)
        latent = torch.ones(1)
        facts = [
            float(sampling.sigma_min), float(sampling.sigma_max), float(sampling.timestep(sampling.sigma_max)),
            model.model.latent_format.scale_factor, float(model.model.process_latent_out(model.model.process_latent_in(latent))),
            model.model.model_config.unet_config["in_channels"], str(model.load_device), str(model.model_dtype()),
        ]
        return {"ui": {"facts": facts}, "result": (sigmas,)}


class Halfway(comfy.samplers.CFGGuider):
    """Towards one text and away from another, by its own arithmetic, and a third of any name."""

    def set_third(self, third, share):
        self.inner_set_conds({**self.original_conds, "third": third})
        self.share = share

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        usual = super().predict_noise(x, timestep, model_options, seed)
        positive, negative, third, nothing = comfy.samplers.calc_cond_batch(
            self.inner_model, [self.conds["positive"], self.conds["negative"], self.conds["third"], None], x, timestep, model_options
        )
        assert not nothing.any()
        mine = negative + self.cfg * ((1 - self.share) * positive + self.share * third - negative)
        assert self.share or (mine - usual).abs().max() <= 1e-5 * usual.abs().max()
        return mine


class Guide:
    @classmethod
    def INPUT_TYPES(cls):
        texts = {name: ("CONDITIONING",) for name in ("positive", "negative", "third")}
        return {"required": {"model": ("MODEL",), **texts, "cfg": ("FLOAT", {"default": 4.0}), "share": ("FLOAT", {"default": 0.0})}}

    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "go"

    def go(self, model, positive, negative, third, cfg, share):
        guider = Halfway(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        guider.set_third(third, share)
        return (guider,)


class PlainGuide(Guide):
    """The class itself."""

    def go(self, model, positive, negative, third, cfg, share):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return (guider,)


class Drawn:
    """Noise of its own."""

    def __init__(self, of, amount):
        self.seed = of.seed
        self.of = of
        self.amount = amount

    def generate_noise(self, latent):
        assert latent["samples"].shape[1] == 4
        return self.of.generate_noise(latent) * self.amount


class Noise:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"noise": ("NOISE",), "amount": ("FLOAT", {"default": 1.0})}}

    RETURN_TYPES = ("NOISE",)
    FUNCTION = "go"

    def go(self, noise, amount):
        return (Drawn(noise, amount),)


NODE_CLASS_MAPPINGS = {"PatchGuide": Guide, "PatchPlainGuide": PlainGuide, "PatchNoise": Noise, "PatchModel": Patch, "PatchLora": Lora, "PatchFacts": Facts}
