"""Limits that count at once when the configuration is read again."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.config import RelayConfig
from relay.limit_reload import ADMISSION, RATES
from relay.limit_settings import LimitSettings
from relay.token_bucket import Rate
from tests.support.relay import Directory, TestBed, receive, relay


def reload(bed: TestBed, **limits: object) -> list[str]:
    config = bed.app.reloads.config
    new = replace(config, limits=replace(config.limits, **limits))  # type: ignore[arg-type]
    done = bed.app.reloads.reload(lambda: new)
    assert done is not None and done.restart == [] and done.refused == {}
    return done.applied


def test_the_names_are_those_of_the_settings() -> None:
    """A renamed setting does not silently need a restart."""
    names = {f"limits.{item.name}" for item in fields(RelayConfig().limits)}
    assert {*ADMISSION, *RATES, "limits.sessions_per_twin", "limits.connections_per_address"} <= names


async def test_they_count_at_once(tmp_path: Path) -> None:
    """Sessions per twin, a rate, and who may sign in; a probe passes all of them."""
    limits = LimitSettings(sessions_per_twin=1)
    async with relay(tmp_path, Directory(7, 9), limits=limits) as bed, bed.client(7, "a") as first:
        async with bed.client(7, "b") as refused:
            with pytest.raises(ConnectionClosed, match="1013"):
                await receive(refused)
        assert reload(bed, sessions_per_twin=2) == ["limits.sessions_per_twin"]
        async with bed.client(7, "b") as second:
            await (await second.ping())
        assert reload(bed, rate_messages=Rate(1, 1)) == ["limits.rate_messages"]
        assert sorted(reload(bed, admission="list", admit=frozenset({9}))) == ["limits.admission", "limits.admit"]
        with pytest.raises(ConnectionClosed, match="1008"):
            await receive(first)
        with pytest.raises(InvalidStatus) as not_admitted:
            await bed.client(7)
        assert not_admitted.value.response.status_code == 403
        async with bed.client(9) as listed:
            await (await listed.ping())
        assert (await bed.app.readiness.ask())[0] == 200
