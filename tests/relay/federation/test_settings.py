"""Flags about other relays."""

import shlex

import pytest

from relay.cli import parse_arguments
from relay.federation.settings import FederationSettings


def test_defaults() -> None:
    """On, with the reference's period (spec rmb 8.2)."""
    assert parse_arguments([]).federation == FederationSettings()
    assert FederationSettings().enabled
    assert FederationSettings().ranker_period_s == 3600


def test_all_flags() -> None:
    """Each of them, repeated where that means something."""
    words = shlex.split(
        "--federation-map B.test=http://10.0.0.1 --federation-map c.test=https://c.test:444/rmb --federation-allow *.A "
        "--federation-allow b --federation-deny x -p 60"
    )
    assert parse_arguments(words).federation == FederationSettings(
        places=(("b.test", "http://10.0.0.1/"), ("c.test", "https://c.test:444/rmb")),
        allow=("*.a", "b"),
        deny=("x",),
        ranker_period_s=60,
    )
    assert not parse_arguments(["--no-federation"]).federation.enabled


@pytest.mark.parametrize(
    "words",
    [
        ["--federation-map", "b.test"],
        ["--federation-map", "b test=https://x"],
        ["--federation-map", "b.test=ftp://x"],
        ["--federation-map", "b.test=https://user:word@x"],
        ["--federation-map", "b.test=https://x/?q"],
        ["--federation-map", "b.test=https://x:99999"],
        ["--federation-allow", ""],
        ["--federation-deny", "a b"],
        ["--federation-deny", "x" * 300],
        ["--ranker-period", "0"],
        ["--ranker-period", "x"],
        ["--ranker-period", "9999999"],
    ],
)
def test_mistakes(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what is expected; a password is not repeated."""
    with pytest.raises(SystemExit):
        parse_arguments(words)
    error = capsys.readouterr().err
    assert words[0] in error
    assert "word" not in error.replace("password", "")
