"""Puts the way in from other relays together from its settings. It refuses to decide anything."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from relay.federation.gate import Gate
from relay.federation.inbound_settings import InboundSettings
from relay.federation.listed import ListedRelays
from relay.federation.peers import RelayKeys
from relay.federation.places import Places
from relay.federation.post_speaker import open_session
from relay.federation.repeats import Repeats
from relay.federation.settings import FederationSettings
from relay.federation.well_known import WellKnown
from relay.identity import IdentityFailed, RelayIdentity, identity_in_file, identity_in_store
from relay.metrics import Metrics
from relay.store import STORE_ERRORS, Store


async def open_identity(key_file: Path | None, store: Store) -> RelayIdentity:
    """The key of this relay.

    Args:
        key_file: where the operator keeps it; `None` for the store.
        store: where it is otherwise.

    Raises:
        IdentityFailed: there is none; the text says what to do.
    """
    if key_file is not None:
        return identity_in_file(key_file)
    try:
        return await identity_in_store(store)
    except STORE_ERRORS as error:
        raise IdentityFailed(f"cannot keep the relay's key in the store: {error}") from None


@asynccontextmanager
async def open_gate(
    store: Store,
    settings: InboundSettings,
    outbound: FederationSettings,
    *,
    domains: frozenset[str],
    metrics: Metrics,
    now_s: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Gate]:
    """What posts of other relays come through.

    Its connections are not those of the way out, so that strangers who make us ask for keys hold up no envelope.

    Args:
        store: where marks are; closed by whoever opened it.
        settings: the operator's.
        outbound: where other relays are, and which may be spoken to.
        domains: the names of this relay, normalised.
        metrics: counts.
        now_s: Unix seconds.
        clock: seconds of a monotonic clock.
    """
    places = Places(domains, places=dict(outbound.places), allow=outbound.allow, deny=outbound.deny)
    session = open_session(places, outbound.connect_s_max)
    keys = RelayKeys(WellKnown(session, places).key, clock)
    try:
        yield Gate(
            settings,
            domains=domains,
            keys=keys,
            listed=ListedRelays(settings.listed, clock),
            repeats=Repeats(store),
            metrics=metrics,
            now_s=now_s,
            clock=clock,
        )
    finally:
        await keys.close()
        await session.close()
