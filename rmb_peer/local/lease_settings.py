"""What may be set about leases, with bounds and defaults. It imports nothing, so that a `--help` stays fast."""

LEASE_S_DEFAULT = 30.0
"""How long a heartbeat lives. A guess: long enough for a machine that swaps, short enough for people who wait."""

LEASE_S_MIN, LEASE_S_MAX = 1.0, 3600.0
"""Bounds for `--lease`. Guesses: Redis counts in milliseconds, but a loaded machine pauses for a second; and after an
hour most messages have expired."""

RETRIES_DEFAULT = 3
"""Tries after the first. A guess: a poisonous message kills four workers, and not more."""

RETRIES_MAX = 100
"""A guess: with the pauses below this is more than a message lives."""


def check_settings(lease_s: float, retries: int) -> None:
    """Refuse settings out of bounds.

    Raises:
        ValueError: names the setting and its bounds.
    """
    if not LEASE_S_MIN <= lease_s <= LEASE_S_MAX:
        raise ValueError(f"a lease lasts {LEASE_S_MIN:g} to {LEASE_S_MAX:g} seconds, not {lease_s:g}")
    if not 0 <= retries <= RETRIES_MAX:
        raise ValueError(f"work is tried again 0 to {RETRIES_MAX} times, not {retries}")
