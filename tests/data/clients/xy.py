"""comfyui-xy: ADDRESS WORKFLOW"""
import copy, json, sys, threading, time
from comfyui_xy import ComfyUiClient

workflow = json.load(open(sys.argv[2]))
workflow["3"]["inputs"]["seed"] = 7
client = ComfyUiClient(url=sys.argv[1], timeout=30, execution_timeout=300, raise_on_error=True)
(picture,) = client.process_workflow(workflow)
assert picture.is_file and picture.file_type == "image" and picture.filename.endswith(".png")
broken = copy.deepcopy(workflow)
broken["3"]["inputs"]["steps"] = 0
try:
    client.process_workflow(broken)
    raise SystemExit("a bad graph was taken")
except Exception as error:
    assert "400" in str(error), error
long = copy.deepcopy(workflow)
long["3"]["inputs"].update(steps=10000, seed=8)
ended = []

def run():
    try:
        ended.append(client.process_workflow(long))
    except Exception as error:
        ended.append(error)

thread = threading.Thread(target=run)
thread.start()
other = ComfyUiClient(url=sys.argv[1], timeout=30)
while not other.get_queue()["queue_running"]:
    time.sleep(0.05)
other.interrupt()
thread.join(60)
assert len(ended) == 1 and (isinstance(ended[0], Exception) or ended[0] == []), ended
