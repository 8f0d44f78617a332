"""A pack that samples: by functions, classes and guiders of its own, and by wrappers around ours."""
import torch

import comfy.model_patcher
import comfy.sample
import comfy.samplers
from comfy.k_diffusion.sampling import sample_euler, to_d
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrapperExecutor, WrappersMP

SEEN = []


@torch.no_grad()
def sample_mine(model, x, sigmas, extra_args=None, callback=None, disable=None, share=1.0):
    """Euler's method, as k-diffusion's public code has it."""
    extra_args = {} if extra_args is None else extra_args
    s_in = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * s_in, **extra_args)
        d = to_d(x, sigmas[i], denoised)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = x + d * (sigmas[i + 1] - sigmas[i]) * share
    return x


@torch.no_grad()
def sample_cfg_pp(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler's method with CFG++ (arXiv:2406.08070), which has the other estimate from options of its own."""
    extra_args = {} if extra_args is None else extra_args
    away = []

    def post_cfg_function(args):
        away[:] = [args["uncond_denoised"]]
        return args["denoised"]

    options = extra_args.get("model_options", {}).copy()
    extra_args["model_options"] = comfy.model_patcher.set_model_options_post_cfg_function(options, post_cfg_function, disable_cfg1_optimization=True)
    s_in = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * s_in, **extra_args)
        d = to_d(x, sigmas[i], away[0])
        callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised + d * sigmas[i + 1]
    return x


def sample_failing(model, x, sigmas, extra_args=None, callback=None, disable=None):
    callback({"x": x, "i": 0, "sigma": sigmas[0], "sigma_hat": sigmas[0], "denoised": x})
    raise ValueError("no second step")


def sample_silent(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return sample_mine(model, x, sigmas, extra_args)


def sample_looking(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Looks at what samplers of packs look at."""
    sampling = model.inner_model.inner_model.model_sampling
    patcher = model.inner_model.model_patcher
    assert patcher.get_model_object("model_sampling").sigma_max == sampling.sigma_max >= sigmas[0]
    SEEN.append((float(sampling.sigma_max), sorted(extra_args), model.inner_model.cfg, len(model.inner_model.conds["positive"])))
    return sample_euler(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)


class Sampler(comfy.samplers.Sampler):
    """One that is no function."""

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        x = model_wrap.inner_model.model_sampling.noise_scaling(sigmas[0], noise, latent_image, self.max_denoise(model_wrap, sigmas))
        for i, (sigma, following) in enumerate(zip(sigmas[:-1], sigmas[1:])):
            denoised = model_wrap(x, sigma.expand(len(x)), **extra_args)
            callback(i, denoised, x, len(sigmas) - 1)
            x = denoised + (x - denoised) * (following / sigma)
        return x


class Samplers:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": ("STRING", {})}, "optional": {"sampler": ("SAMPLER",)}}

    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "go"

    def go(self, what, sampler=None):
        if what == "class":
            return (Sampler(),)
        if what == "named":
            return (comfy.samplers.sampler_object("euler"),)
        if what == "given":
            return (sampler,)
        if what == "around":
            inner = sampler.sampler_function
            return (comfy.samplers.KSAMPLER(lambda model, x, sigmas, extra_args=None, callback=None, disable=None: inner(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)),)
        if what == "half":
            return (comfy.samplers.KSAMPLER(sample_mine, extra_options={"share": 0.5}),)
        return (comfy.samplers.KSAMPLER(globals()[f"sample_{what}"]),)


class InTwo(comfy.samplers.CFGGuider):
    """Samples in two parts."""

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None):
        first = super().sample(noise, latent_image, sampler, sigmas[:3], denoise_mask=denoise_mask, callback=callback, disable_pbar=disable_pbar, seed=seed)
        SEEN.append(seed)
        return super().sample(torch.zeros_like(noise), first, sampler, sigmas[2:], denoise_mask=denoise_mask, callback=callback, disable_pbar=disable_pbar, seed=seed)


class Quieter(comfy.samplers.CFGGuider):
    """Starts from less noise."""

    def outer_sample(self, noise, *args, **kwargs):
        return super().outer_sample(noise * 0.5, *args, **kwargs)


class Asking(comfy.samplers.CFGGuider):
    """Guides by the function that ComfyUI's own guider calls."""

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        positive, negative = self.conds.get("positive"), self.conds.get("negative")
        return comfy.samplers.sampling_function(self.inner_model, x, timestep, negative, positive, self.cfg, model_options=model_options, seed=seed)


class Combining(comfy.samplers.CFGGuider):
    """The same in its two halves."""

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        conds = [self.conds["positive"], self.conds["negative"]]
        out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        return comfy.samplers.cfg_function(self.inner_model, out[0], out[1], self.cfg, x, timestep, model_options=model_options, cond=conds[0], uncond=conds[1])


class Telling(comfy.samplers.CFGGuider):
    """Gives every estimate options of its own: half of what self-attention says, and half of the guidance."""

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        options = comfy.model_patcher.create_model_options_clone(model_options)
        patches = options.setdefault("transformer_options", {}).setdefault("patches", {})
        patches.setdefault("attn1_output_patch", []).append(lambda out, extra: out * 0.5)
        options = comfy.model_patcher.set_model_options_post_cfg_function(options, halved)
        return super().predict_noise(x, timestep, options, seed)


def halved(args):
    return args["uncond_denoised"] + 0.5 * (args["denoised"] - args["uncond_denoised"])


class Guiders:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "cfg": ("FLOAT", {}), "what": ("STRING", {})}}

    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "go"

    def go(self, model, positive, negative, cfg, what):
        guider = {"two": InTwo, "quiet": Quieter, "asking": Asking, "combining": Combining, "telling": Telling}[what](model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return (guider,)


class Changed:
    """A guider of another node, with another scale or its texts the other way round."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",), "what": ("STRING", {})}}

    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "go"

    def go(self, guider, what):
        assert guider.model_patcher.model is not None and len(guider.conds["positive"][0]) == 2
        if what == "cfg":
            guider.set_cfg(2.0)
        if what == "round":
            guider.set_conds(guider.original_conds["negative"], guider.original_conds["positive"])
        if what == "model":
            guider.model_patcher = guider.model_patcher.clone()
            guider.model_patcher.set_model_sampler_cfg_function(lambda args: args["input"] - args["cond_denoised"])
            guider.model_options = guider.model_patcher.model_options
        return (guider,)


class Wrapped:
    """A model with functions around its sampling."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "what": ("STRING", {}), "amount": ("FLOAT", {"default": 1.0})}}

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "go"

    def go(self, model, what, amount):
        m = model.clone()
        getattr(self, what)(m, amount)
        return (m,)

    def outer(self, m, amount):
        def outer_sample(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None, **kwargs):
            assert isinstance(executor, WrapperExecutor) and executor.class_obj.model_patcher is not None
            SEEN.append((seed, len(sigmas), executor.class_obj.cfg, sorted(executor.class_obj.conds)))
            return executor(noise * amount, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **kwargs)

        m.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "mine", outer_sample)

    def scaled(self, m, amount):
        """Changes the guider's scale for this sampling."""

        def outer_sample(executor, *args, **kwargs):
            executor.class_obj.set_cfg(amount)
            return executor(*args, **kwargs)

        m.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "mine", outer_sample)

    def sampler(self, m, amount):
        def sampler_sample(executor, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
            assert isinstance(executor.class_obj, comfy.samplers.KSAMPLER) and model_wrap.inner_model is not None
            return executor(model_wrap, sigmas, extra_args, callback, noise * amount, latent_image, denoise_mask, disable_pbar)

        m.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "mine", sampler_sample)

    def swapped(self, m, amount):
        def calc_cond_batch(executor, model, conds, x_in, timestep, model_options):
            assert timestep.shape == x_in.shape[:1]
            return executor(model, conds, x_in, timestep, model_options)[::-1]

        m.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "mine", calc_cond_batch)

    def nothing(self, m, amount):
        pass

    def half(self, m, amount):
        """What `Telling` tells, set on the model."""
        m.set_model_attn1_output_patch(lambda out, extra: out * 0.5)
        m.set_model_sampler_post_cfg_function(halved)

    def called(self, m, amount):
        for occasion in (CallbacksMP.ON_PRE_RUN, CallbacksMP.ON_CLEANUP, CallbacksMP.ON_INJECT_MODEL, CallbacksMP.ON_EJECT_MODEL):
            m.add_callback_with_key(occasion, "mine", lambda model, occasion=occasion: SEEN.append(str(occasion)))
        m.add_callback(CallbacksMP.ON_CLONE, lambda model, other: SEEN.append("cloned"))
        m.set_injections("mine", [PatcherInjection(inject=lambda model: SEEN.append("in"), eject=lambda model: SEEN.append("out"))])
        m.set_attachments("mine", {"a": 1})
        other = m.clone()
        assert other.get_attachment("mine") == {"a": 1} and other.get_attachment("none") is None
        other.remove_callbacks_with_key(CallbacksMP.ON_PRE_RUN, "mine")
        assert not other.get_all_callbacks(CallbacksMP.ON_PRE_RUN) and len(m.get_callbacks(CallbacksMP.ON_PRE_RUN, "mine")) == 1
        assert len(other.get_injections("mine")) == 1

    def never(self, m, amount):
        m.add_callback_with_key(CallbacksMP.ON_LOAD, "mine", lambda *given: None)


class Sample:
    """SamplerCustomAdvanced, as packs write their own."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"noise": ("NOISE",), "guider": ("GUIDER",), "sampler": ("SAMPLER",), "sigmas": ("SIGMAS",), "latent_image": ("LATENT",)}}

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "go"

    def go(self, noise, guider, sampler, sigmas, latent_image):
        latent = latent_image.copy()
        latent["samples"] = comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
        steps = []
        samples = guider.sample(
            noise.generate_noise(latent), latent["samples"], sampler, sigmas, denoise_mask=latent.get("noise_mask"),
            callback=lambda step, x0, x, total: steps.append((step, total, x0.shape == x.shape)), disable_pbar=True, seed=noise.seed,
        )
        SEEN.append(steps)
        latent["samples"] = samples.to("cpu")
        return (latent,)


class Plain:
    """KSampler, as packs write their own."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "latent_image": ("LATENT",),
                             "sampler_name": (comfy.samplers.KSampler.SAMPLERS,), "start": ("INT", {"default": 0}), "end": ("INT", {"default": 1000})}}

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "go"

    def go(self, model, positive, negative, latent_image, sampler_name, start, end):
        samples = latent_image["samples"]
        noise = comfy.sample.prepare_noise(samples, 3, latent_image.get("batch_index"))
        made = comfy.sample.sample(
            model, noise, 3, 4.0, sampler_name, "normal", positive, negative, samples, denoise=1.0, disable_noise=False, start_step=start,
            last_step=end, force_full_denoise=True, noise_mask=latent_image.get("noise_mask"), callback=None, disable_pbar=True, seed=3,
        )
        return ({**latent_image, "samples": made},)


NODE_CLASS_MAPPINGS = {
    "ConductSampler": Samplers, "ConductGuider": Guiders, "ConductChanged": Changed, "ConductWrapped": Wrapped, "ConductSample": Sample, "ConductPlain": Plain,
}
