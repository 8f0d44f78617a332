"""The Model Context Protocol: the tools as the official package serves them. The only file that imports it."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from inspect import Parameter, Signature, cleandoc, signature
from typing import Any, Concatenate, ParamSpec
from urllib.parse import quote

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from server.client import ADDRESS, Client, RefusedError, Unreachable
from server.tools import CannotError, Result, Tools

P = ParamSpec("P")
Opened = Callable[[], AbstractAsyncContextManager[Client]]

INSTRUCTIONS = (
    "Darkroom draws pictures with Stable Diffusion by workflows: graphs of typed nodes. Find node types with search_nodes, "
    "build or change a workflow with edit_workflow, which says what is still wrong with it, then run_workflow and look at "
    "the pictures. Start from an example where one fits: list_workflows, read_workflow."
)
TOOLS = (
    Tools.search_nodes,
    Tools.node_help,
    Tools.list_models,
    Tools.list_workflows,
    Tools.read_workflow,
    Tools.edit_workflow,
    Tools.write_workflow,
    Tools.check_workflow,
    Tools.run_workflow,
    Tools.wait_for_job,
    Tools.look_at,
    Tools.explain_job,
    Tools.cancel_job,
    Tools.list_jobs,
    Tools.upload_picture,
)


def create(opened: Opened, version: str) -> MCPServer[Any]:
    """A server of the protocol whose tools work over the clients that `opened` opens, one a call."""
    server: MCPServer[Any] = MCPServer("darkroom", instructions=INSTRUCTIONS, version=version, log_level="WARNING")
    for method in TOOLS:
        server.add_tool(_tool(method, opened), name=method.__name__, description=_text(method), structured_output=False)

    @server.resource(
        "darkroom://examples/{name}", description="An example workflow, as JSON.", mime_type="application/json"
    )
    async def example(name: str) -> str:
        async with opened() as client:
            return (await client.get_bytes(f"/examples/{quote(name, safe='')}.json")).decode()

    @server.resource("darkroom://nodes/{node_type}", description="Help for a node type.", mime_type="text/markdown")
    async def help_page(node_type: str) -> str:
        async with opened() as client:
            return (await client.get_bytes(f"/docs/{quote(node_type, safe='')}/en.md")).decode()

    return server


def sessions(opened: Opened, version: str, largest: int) -> StreamableHTTPSessionManager:
    """The same over streamable HTTP: `handle_request` is an ASGI application, and `run` has to be entered once.

    largest: bytes of a message.
    """
    server = create(opened, version)
    ours = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # names of hosts are checked before
    server.streamable_http_app(transport_security=ours, max_request_body_size=largest)
    return server.session_manager


def serve_stdio(address: str = ADDRESS) -> int:
    """`main.py mcp`: speak the protocol over standard input and output, for the server at `address`."""
    logging.basicConfig(level=logging.WARNING)
    create(lambda: Client(address), "").run("stdio")
    return 0


def _tool(
    method: Callable[Concatenate[Tools, P], Awaitable[Result]], opened: Opened
) -> Callable[..., Awaitable[list[str | Image]]]:
    """A method of Tools as a function with the same parameters, and the context that says who calls."""

    async def call(ctx: Context[Any, Any], *places: P.args, **given: P.kwargs) -> list[str | Image]:
        try:
            async with opened() as client:
                result = await method(Tools(client, _caller(ctx)), *places, **given)
        except (CannotError, Unreachable, ValueError) as error:
            raise ToolError(str(error)) from None
        except RefusedError as error:
            raise ToolError("\n".join(error.problems)) from None
        told = json.dumps(result.told, ensure_ascii=False, indent=1)
        return [told, *(Image(data=each.content, format=each.format) for each in result.pictures)]

    asked = [each for each in signature(method, eval_str=True).parameters.values() if each.name != "self"]
    context = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=Context)
    call.__annotations__ = {each.name: each.annotation for each in (*asked, context)}
    setattr(call, "__signature__", Signature([*asked, context]))  # noqa: B010
    return call


def _caller(ctx: Context[Any, Any]) -> str:
    """What the program calls itself."""
    said = ctx.session.client_params
    return (said.client_info.title or said.client_info.name) if said else "a program"


def _text(method: Callable[..., object]) -> str:
    return cleandoc(method.__doc__ or "")
