"""comfy-headless: ADDRESS WORKFLOW"""
import json, sys, time
from comfy_headless import ComfyClient

client = ComfyClient(sys.argv[1])
assert client.get_checkpoints() and "euler" in client.get_samplers() and "karras" in client.get_schedulers()
drawn = client.generate_image("a boat", width=64, height=64, steps=2, seed=3, checkpoint="tiny.safetensors")
assert drawn["success"] and client.get_image(drawn["images"][0]["filename"])
workflow = json.load(open(sys.argv[2]))
workflow["3"]["inputs"]["sampler_name"] = "no such sampler"
try:
    answer = client.queue_prompt(workflow)
    assert not answer, answer
except Exception as error:
    assert "sampler" in str(error), error
workflow = json.load(open(sys.argv[2]))
workflow["3"]["inputs"].update(steps=10000, seed=9)
client.queue_prompt(workflow)
while not client.get_queue()["queue_running"]:
    time.sleep(0.05)
client.cancel_current()
while client.get_queue()["queue_running"]:
    time.sleep(0.05)
