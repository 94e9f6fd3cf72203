"""Speaks to another relay over a lasting link if it offers one, else by single posts.

What a relay offers is asked for once in a while; a relay that refuses the link all the same (it stands behind a web
server that passes no WebSocket on, it does not accept our key) is spoken to by posts for a while. What is said over
either is the same, so a batch that the link did not take goes by posts at once. This module refuses to know both.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from relay.federation.link_speaker import LinkRefused
from relay.federation.speaker import Outcome, Queued, Speaker
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.link.endings import SUBPROTOCOL

POSTS_S = 600.0
"""How long a relay without a link, or that refuses it, gets posts; a guess: relays are seldom replaced by ours."""

UNKNOWN_S = 10.0
"""How long one gets posts that did not say what it offers; a guess: it was away for a restart."""

_LOG = get_logger("relay.federation")


def offers_link(well_known: Mapping[str, Any]) -> bool:
    """Whether a relay that publishes this in `/.well-known/rmb` takes links of other relays."""
    protocols, federation = well_known.get("protocols"), well_known.get("federation")
    return (
        isinstance(protocols, list)
        and SUBPROTOCOL in protocols
        and isinstance(federation, dict)
        and federation.get("link") is True
    )


class LinkOrPosts:
    """See `speaker.Speaker`."""

    def __init__(
        self,
        name: str,
        link: Speaker,
        posts: Speaker,
        offered: Callable[[], Awaitable[bool | None]],
        clock: Callable[[], float],
    ) -> None:
        """Take over two speakers; they are closed with this one.

        Args:
            name: of the other relay, for log lines.
            link: may raise `LinkRefused`.
            posts: takes everything.
            offered: asks whether there is a link; `None` when nobody can tell now.
            clock: monotonic seconds.
        """
        self._name = name
        self._link = link
        self._posts = posts
        self._offered = offered
        self._clock = clock
        self._ask_at_s = clock()
        self._by_link = False

    async def deliver(self, batch: Sequence[Queued]) -> Sequence[Outcome]:
        """See `speaker.Speaker.deliver`."""
        if not self._by_link and self._clock() >= self._ask_at_s:
            offered = await self._offered()
            self._by_link = bool(offered)
            self._ask_at_s = self._clock() + (UNKNOWN_S if offered is None else POSTS_S)
        if self._by_link:
            try:
                return await self._link.deliver(batch)
            except LinkRefused as refused:
                event(_LOG, logging.WARNING, "relay refuses the link", relay=self._name, reason=str(refused))
                self._by_link = False
                self._ask_at_s = self._clock() + POSTS_S
        return await self._posts.deliver(batch)

    async def close(self) -> None:
        """See `speaker.Speaker.close`."""
        await self._link.close()
        await self._posts.close()
