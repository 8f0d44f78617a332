"""An aiohttp server that does nothing, `python -m bench.bare BYTES`: what no server that is made with it can be faster than."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from aiohttp import web

ETAG = '"kept"'


def application(size: int) -> web.Application:
    """`POST /prompt` reads its body and answers at once; `GET /object_info` gives `size` bytes, or 304."""
    kept = bytes(size)

    async def post(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text='{"prompt_id": "", "number": 0, "node_errors": {}}', content_type="application/json")

    async def get(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == ETAG:
            return web.Response(status=304, headers={"ETag": ETAG})
        return web.Response(body=kept, content_type="application/json", headers={"ETag": ETAG})

    app = web.Application()
    app.router.add_post("/prompt", post)
    app.router.add_get("/object_info", get)
    return app


async def serve(size: int) -> None:
    """Serve on a free port, which is printed, until cancelled."""
    runner = web.AppRunner(application(size), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1])))
