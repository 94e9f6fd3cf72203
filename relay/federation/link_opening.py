"""Puts the way to one other relay together: a link where it offers one, else single posts. It decides nothing."""

import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from relay.federation.link_or_posts import LinkOrPosts, offers_link
from relay.federation.link_signature import NONCE_BYTES
from relay.federation.link_speaker import LinkSpeaker, Way
from relay.federation.peers import KeyUnknown
from relay.federation.places import Places
from relay.federation.resolver import CheckedResolver
from relay.federation.speaker import Speaker
from relay.federation.well_known import WellKnown

SignLink = Callable[[str, bytes], Mapping[str, str]]
"""Headers that say who opens a link, from the name of the other relay and a nonce."""

_PORTS = {"http": 80, "https": 443}


class Links:
    """Makes speakers that prefer links."""

    def __init__(
        self,
        places: Places,
        resolver: CheckedResolver,
        well_known: WellKnown,
        sign: SignLink,
        clock: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            places: where relays are, and which may be spoken to.
            resolver: checks addresses; closed by whoever made it.
            well_known: asks relays what they offer.
            sign: makes headers.
            clock: monotonic seconds.
        """
        self._places = places
        self._resolver = resolver
        self._well_known = well_known
        self._sign = sign
        self._clock = clock

    def prefer_link(self, name: str, posts: Speaker) -> Speaker:
        """One for this relay; nothing is asked or dialled yet."""
        link = LinkSpeaker(name, lambda: self._way(name), lambda: self._sign(name, secrets.token_bytes(NONCE_BYTES)))
        return LinkOrPosts(name, link, posts, lambda: self._offered(name), self._clock)

    async def _way(self, name: str) -> Way:
        url = self._places.url(name)
        parts = urlsplit(url)
        found = await self._resolver.resolve(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        return Way("ws" + url.removeprefix("http"), [address["host"] for address in found])

    async def _offered(self, name: str) -> bool | None:
        try:
            return offers_link(await self._well_known.card(name))
        except KeyUnknown as error:
            return False if error.final else None
