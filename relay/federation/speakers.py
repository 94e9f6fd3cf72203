"""Who speaks to which relay: a link where it offers one, else single posts. It refuses to know what is said."""

from collections.abc import Callable

import aiohttp

from relay.federation.link_opening import Links
from relay.federation.places import Places
from relay.federation.post_speaker import PostSpeaker, Sign
from relay.federation.settings import FederationSettings
from relay.federation.speaker import Speaker


class Speakers:
    """Makes speakers, which share their connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        places: Places,
        settings: FederationSettings,
        *,
        own_key: str | None,
        sign: Sign | None,
        now_s: Callable[[], float],
        links: Links | None = None,
    ) -> None:
        """Set up; see `PostSpeaker`. Without `links` there are posts only."""
        self._session = session
        self._places = places
        self._settings = settings
        self._own_key = own_key
        self._sign = sign
        self._now_s = now_s
        self._links = links

    def speaker(self, name: str) -> Speaker:
        """One for this relay, not connected yet."""
        posts = PostSpeaker(
            name,
            self._session,
            self._places,
            parallel=self._settings.parallel,
            answer_s_max=self._settings.answer_s_max,
            own_key=self._own_key,
            sign=self._sign,
            now_s=self._now_s,
        )
        return posts if self._links is None else self._links.prefer_link(name, posts)
