"""Puts federation together from its settings. It refuses to know which store is behind the outboxes."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from relay.federation.candidates import Candidates
from relay.federation.fates import DeliverHere, Fates
from relay.federation.link_opening import Links, SignLink
from relay.federation.outbound import Counts, Federation, HealthTable
from relay.federation.outbox import Outboxes
from relay.federation.places import Places
from relay.federation.post_speaker import Sign, open_session
from relay.federation.ranker import Ranker
from relay.federation.resolver import CheckedResolver
from relay.federation.settings import FederationSettings
from relay.federation.speakers import Speakers
from relay.federation.well_known import WellKnown
from relay.tasks import end
from relay.telling import TellsSender
from rmb_peer.registry.lookup import TwinLookup


@asynccontextmanager
async def open_federation(
    outboxes: Outboxes,
    settings: FederationSettings,
    *,
    domains: frozenset[str],
    lookup: TwinLookup,
    tell: TellsSender,
    deliver_here: DeliverHere,
    own_key: str | None = None,
    sign: Sign | None = None,
    sign_link: SignLink | None = None,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[Federation]:
    """The way out to other relays, running.

    Args:
        outboxes: where envelopes wait; running, and closed by whoever made them.
        settings: the operator's.
        domains: the names of this relay, normalised.
        lookup: who is twin N.
        tell: tells a sender that its request goes nowhere after all.
        deliver_here: puts an envelope into a mailbox of this relay.
        own_key: in hex, what this relay publishes as `relay_key`.
        sign: makes the headers that say who posts.
        sign_link: makes the headers that say who opens a lasting link; without it there are posts only.
        now_s: Unix seconds.
    """
    places = Places(domains, places=dict(settings.places), allow=settings.allow, deny=settings.deny)
    ranker = Ranker(settings.ranker_period_s, random.random)
    table = HealthTable(now_s, settings.retry_s_max)
    candidates = Candidates(places, ranker, table.works, table.doubted_since)
    session = open_session(places, settings.connect_s_max)
    resolver = CheckedResolver(places)
    links = None
    if sign_link is not None:
        links = Links(places, resolver, WellKnown(session, places), sign_link, time.monotonic)
    speakers = Speakers(session, places, settings, own_key=own_key, sign=sign, now_s=now_s, links=links)
    federation = Federation(
        outboxes,
        candidates,
        Fates(outboxes, candidates, lookup, domains, tell, deliver_here, now_s),
        speakers.speaker,
        settings,
        domains=domains,
        failed=lambda name: ranker.failed(name, now_s()),
        table=table,
        counts=Counts(),
        random=random.random,
        now_s=now_s,
    )
    running = asyncio.create_task(federation.run())
    try:
        yield federation
    finally:
        await federation.close()
        await end([running])
        await resolver.close()
        await session.close()
