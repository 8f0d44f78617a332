"""comfy-script: ADDRESS WORKFLOW"""
import contextlib, io, sys, time
from comfy_script.runtime import *
load(sys.argv[1])
from comfy_script.runtime.nodes import *

def draw(steps, seed):
    model, clip, vae = CheckpointLoaderSimple("tiny.safetensors")
    words, nothing = CLIPTextEncode("a boat", clip), CLIPTextEncode("", clip)
    latent = KSampler(model, seed, steps, 7, "euler", "normal", words, nothing, EmptyLatentImage(32, 32, 1), 1)
    return VAEDecode(latent, vae)

with Workflow(wait=True):
    (picture,) = util.get_images(draw(2, 5), save=True)
assert picture.size == (32, 32)
told = io.StringIO()  # what is wrong is printed, not raised
with contextlib.redirect_stdout(told), Workflow(wait=True):
    SaveImage(draw(0, 5), "bad")
assert "steps" in told.getvalue() and "value_smaller_than_min" in told.getvalue(), told.getvalue()
begun = []
queue.add_queue_remaining_callback(begun.append)
with Workflow(wait=False):
    SaveImage(draw(10000, 6), "long")
while 1 not in begun:
    time.sleep(0.05)
queue.cancel_all()
while begun[-1] != 0:
    time.sleep(0.05)
