"""The opt-in port of a gateway: `/metrics`, `/healthz`, `/readyz`. Everything it says comes from an `Observation`.

aiohttp is imported when a port is asked for, and not before.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from rmb_peer import __version__
from rmb_peer.metrics import CONTENT_TYPE
from rmb_peer.observation import Observation
from rmb_peer.protocol.errors import BadRequest, OtherError

HOST_DEFAULT = "127.0.0.1"
"""Who sees metrics sees who talks how much: other machines only where the operator names an address."""

_ADDRESS = re.compile(r"(?:(?P<host>[^\s:\[\]]*|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[IPv6]:PORT`, `:PORT` or `PORT`; port 0 picks a free one.

    Raises:
        BadRequest: it is none of these.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise BadRequest(f"http must be HOST:PORT or PORT, not {text[:80]!r}")
    return (match["host"] or HOST_DEFAULT).strip("[]"), int(match["port"])


@asynccontextmanager
async def listening(address: str, observation: Observation) -> AsyncIterator[str]:
    """Serve until the end of the block; yields `host:port`.

    Raises:
        BadRequest: `address` is none.
        OtherError: nobody can listen there.
    """
    from aiohttp import hdrs, web

    host, port = parse_address(address)

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=observation.metrics(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def health(request: web.Request) -> web.Response:
        return _json({"status": "ok", "state": observation.state}, 200)

    async def ready(request: web.Request) -> web.Response:
        readiness = await observation.readiness()
        return _json({"ready": readiness.ready, **readiness.facts}, 200 if readiness.ready else 503)

    def _json(value: dict[str, object], status: int) -> web.Response:
        return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")

    async def name_us(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[hdrs.SERVER] = f"rmb-peer/{__version__}"

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    app.on_response_prepare.append(name_us)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, shutdown_timeout=1.0).start()
        except OSError as error:
            raise OtherError(f"cannot listen on {host}:{port} for --http: {error.strerror or error}") from None
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
