"""What operators and their tools ask for: `/metrics`, `/healthz`, `/readyz`.

It refuses to know which port this is on.
"""

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import hdrs, web

from relay.mailboxes import Mailboxes, MailboxFailed
from relay.metrics import CONTENT_TYPE
from relay.readiness import Readiness


def add_admin_routes(
    app: web.Application, scrape: Callable[[], Awaitable[bytes]], mailboxes: Mailboxes, readiness: Readiness
) -> None:
    """Register the three.

    Args:
        app: gets the routes.
        scrape: gives the metrics: of this process, or of all of them.
        mailboxes: the store; without it a relay lives, but is not healthy.
        readiness: knows whether messages travel.
    """

    async def show_metrics(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await scrape(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def show_health(request: web.Request) -> web.StreamResponse:
        try:
            await mailboxes.ping()
        except MailboxFailed as error:
            return _json({"status": "failing", "reason": str(error)}, 503)
        return _json({"status": "ok"})

    async def show_readiness(request: web.Request) -> web.StreamResponse:
        status, value = await readiness.ask()
        return _json(value, status)

    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/healthz", show_health)
    app.router.add_get("/readyz", show_readiness)


def _json(value: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
