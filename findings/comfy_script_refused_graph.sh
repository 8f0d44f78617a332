#!/bin/sh
# comfy-script 0.6.1 (PyPI), workflows for ComfyUI's API written in Python.
# Most expect: a graph that the server refuses (`POST /prompt` answers 400 with `error` and `node_errors`) raises where
#   the workflow ends, as any call that failed does, so that a program stops there.
# What happens: the refusal is printed, and the program goes on as if the workflow had run. So who drives a server with
#   it looks at what it prints, or asks the history whether there is a job.
# Needs no server of images: one of a few lines answers what the library asks. tqdm is installed beside it, since the
#   library imports it and does not ask for it. Fails if that changes.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "comfy-script[client]==0.6.1" aiohttp==3.14.5 tqdm==4.67.1
cat > "$work/server.py" <<'PYTHON'
from aiohttp import web

TYPE = {"input": {"required": {"value": ["INT", {"default": 1, "min": 1, "max": 9}]}}, "input_order": {"required": ["value"]},
        "output": [], "output_is_list": [], "output_name": [], "name": "Show", "display_name": "Show", "description": "",
        "python_module": "nodes", "category": "test", "output_node": True}
WRONG = {"type": "value_smaller_than_min", "message": "Value 0 smaller than min of 1", "details": "value", "extra_info": {}}
REFUSAL = {"error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "",
           "extra_info": {}}, "node_errors": {"0": {"errors": [WRONG], "dependent_outputs": ["0"], "class_type": "Show"}}}

async def refuse(request):
    print("refused", flush=True)
    return web.json_response(REFUSAL, status=400)

async def sockets(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "x"}})
    async for _ in socket:
        pass
    return socket

async def answer(body):
    return web.json_response(body)

app = web.Application()
for prefix in ("", "/api"):
    app.router.add_get(prefix + "/object_info", lambda request: answer({"Show": TYPE}))
    app.router.add_get(prefix + "/queue", lambda request: answer({"queue_running": [], "queue_pending": []}))
    app.router.add_get(prefix + "/prompt", lambda request: answer({"exec_info": {"queue_remaining": 0}}))
    app.router.add_get(prefix + "/embeddings", lambda request: answer([]))
    app.router.add_get(prefix + "/system_stats", lambda request: answer({"system": {}, "devices": []}))
    app.router.add_post(prefix + "/prompt", refuse)
    app.router.add_get(prefix + "/ws", sockets)
web.run_app(app, host="127.0.0.1", port=8189, print=None)
PYTHON
cat > "$work/client.py" <<'PYTHON'
import contextlib, io, sys
from comfy_script.runtime import *
load("http://127.0.0.1:8189")
from comfy_script.runtime.nodes import *

told = io.StringIO()
try:
    with contextlib.redirect_stdout(told), Workflow(wait=True):
        Show(0)
except Exception as error:
    print(f"raised {type(error).__name__}")
    sys.exit(1)
print("nothing was raised; printed:", " ".join(told.getvalue().split())[:160])
sys.exit(0 if "value_smaller_than_min" in told.getvalue() else 1)
PYTHON
"$work/venv/bin/python" "$work/server.py" > "$work/asked" & server=$!
trap 'kill "$server"; rm -rf "$work"' EXIT
sleep 2
cd "$work"
timeout 60 "$work/venv/bin/python" "$work/client.py"
grep -q refused "$work/asked"
echo "comfy-script 0.6.1: as described"
