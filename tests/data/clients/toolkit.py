"""comfy-toolkit: ADDRESS WORKFLOW"""
import copy, sys, time
from comfy_toolkit import ComfyClient, customize

client = ComfyClient(sys.argv[1])
workflow = customize(client.load_workflow(sys.argv[2]), positive="a boat", seed=5)
seen = []
result = client.submit_and_track(workflow, on_progress=lambda done, total: seen.append((done, total)))
assert seen[-1] == (2, 2), seen
assert client.download(result["images"][0])[:4] == b"\x89PNG"
broken = copy.deepcopy(workflow)
broken["3"]["inputs"]["steps"] = 0
try:
    client.submit(broken)
    raise SystemExit("a bad graph was taken")
except Exception as error:
    assert "steps" in str(error), error
long = copy.deepcopy(workflow)
long["3"]["inputs"].update(steps=10000, seed=6)
client.submit(long)
while not client.queue_status()["running"]:
    time.sleep(0.05)
client.interrupt()
while client.queue_status() != {"running": 0, "pending": 0}:
    time.sleep(0.05)
