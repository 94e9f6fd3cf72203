"""A changed configuration, field by field: taken over, kept for a restart, or refused."""

import logging
from dataclasses import dataclass, field, replace

import pytest

from relay.reload import NeedsRestart, Reloads
from rmb_peer.protocol.errors import BadRequest
from tests.support.relay import LogLines


@dataclass(frozen=True)
class Inner:
    a: int = 0
    b: int = 0


@dataclass(frozen=True)
class Config:
    first: int = 1
    second: str = "x"
    inner: Inner = field(default_factory=Inner)
    whole: Inner = field(default_factory=Inner)
    maybe: Inner | None = None


@pytest.fixture
def reloads() -> Reloads[Config]:
    return Reloads(Config())


def test_only_what_changed_is_taken_over(reloads: Reloads[Config]) -> None:
    """Appliers hear of changes alone, parts of a dataclass have names of their own unless it is taken whole."""
    heard: list[tuple[str, object]] = []
    for name in ("first", "inner.a", "inner.b", "whole", "maybe"):
        reloads.on_change(name, lambda value, name=name: heard.append((name, value)))  # type: ignore[misc]
    new = Config(first=2, inner=Inner(b=3), whole=Inner(a=4), maybe=Inner())
    done = reloads.reload(lambda: new)
    assert done is not None and done.applied == ["first", "inner.b", "whole", "maybe"]
    assert heard == [("first", 2), ("inner.b", 3), ("whole", Inner(a=4)), ("maybe", Inner())]
    assert reloads.config == new
    again = reloads.reload(lambda: new)
    assert again is not None and again.applied == []


def test_what_belongs_together_is_taken_over_together(reloads: Reloads[Config]) -> None:
    """Once, with the whole new configuration, or not at all."""
    heard: list[Config] = []
    reloads.on_changes(["first", "inner.a", "inner.b", "whole"], heard.append)
    new = Config(first=2, inner=Inner(b=3), whole=Inner(a=1))
    done = reloads.reload(lambda: new)
    assert done is not None and done.applied == ["first", "inner.b", "whole"]
    assert heard == [new] and reloads.config == new
    assert reloads.reload(lambda: new) is not None and len(heard) == 1

    def refuse(_: Config) -> None:
        raise ValueError("no such list")

    reloads.on_changes(["second", "inner.a"], refuse)
    done = reloads.reload(lambda: replace(new, second="y"))
    assert done is not None and done.refused == {"second": "no such list"}
    assert reloads.config == new


def test_what_needs_a_restart_is_said_each_time(reloads: Reloads[Config]) -> None:
    """Nobody takes it, or who takes it says so; until the restart every reload repeats it."""

    def never(_: object) -> None:
        raise NeedsRestart

    reloads.on_change("inner.a", never)
    for _ in range(2):
        with LogLines() as lines:
            done = reloads.reload(lambda: Config(second="y", inner=Inner(a=1)))
        assert done is not None and done.restart == ["second", "inner.a"]
        assert lines.named("settings changed that need a restart")[0]["settings"] == ["second", "inner.a"]
        assert reloads.config == Config()


def test_a_broken_configuration_changes_nothing(reloads: Reloads[Config]) -> None:
    """It is logged why, and that the old one stays."""

    def broken() -> Config:
        raise BadRequest("line 3 is wrong")

    reloads.on_change("first", lambda _: pytest.fail("nothing changed"))
    with LogLines() as lines:
        assert reloads.reload(broken) is None
    (line,) = lines.lines
    assert (line["level"], line["reason"]) == (logging.ERROR, "line 3 is wrong")
    assert reloads.config == Config()


def test_a_value_that_cannot_be_used_keeps_the_old_one(reloads: Reloads[Config]) -> None:
    """The rest is taken over, and the next reload tries again."""

    def refuse(_: object) -> None:
        raise OSError("no such certificate")

    reloads.on_change("first", refuse)
    reloads.on_change("second", lambda _: None)
    new = Config(first=2, second="y")
    with LogLines() as lines:
        done = reloads.reload(lambda: new)
    assert done is not None and (done.applied, done.refused) == (["second"], {"first": "no such certificate"})
    assert lines.named("setting cannot be used, the old one stays")[0]["setting"] == "first"
    assert reloads.config == replace(new, first=1)
    reloads.on_change("first", lambda _: None)
    done = reloads.reload(lambda: new)
    assert done is not None and done.applied == ["first"]


def test_files_are_read_again_every_time(reloads: Reloads[Config]) -> None:
    """Their content changes while their names do not; a failure is one of a setting."""
    times: list[int] = []

    def again() -> None:
        times.append(1)
        if len(times) == 2:
            raise ValueError("no certificate")

    reloads.on_reload("tls", again)
    first, second = reloads.reload(Config), reloads.reload(Config)
    assert first is not None and first.applied == ["tls"]
    assert second is not None and second.refused == {"tls": "no certificate"}
