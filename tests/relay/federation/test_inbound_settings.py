"""The flags about relays that post here."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.cli import main, parse_arguments
from relay.federation.inbound_settings import InboundSettings
from relay.federation.listed import Listed


def test_the_default() -> None:
    """Only relays that sign; a rate; a key in the store."""
    assert parse_arguments([]).inbound == InboundSettings(False, (), 30_000, None)


def test_all_of_them() -> None:
    """Lists add up; names are normalised."""
    words = "--federation-open --federation-from A.test b.test=10.0.0.0/8,::1 --federation-from a.test "
    words += "--federation-rate 1 --key-file relay.key"
    networks = (ip_network("10.0.0.0/8"), ip_network("::1"))
    expected = InboundSettings(True, (Listed("a.test"), Listed("b.test", networks)), 1, Path("relay.key"))
    assert parse_arguments(words.split()).inbound == expected


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--federation-from a_b..c", "is not a relay: expected host or host:port"),
        ("--federation-from a.test=10.0.0.1/8", "is no network: expected for example 192.0.2.7"),
        ("--federation-rate 0", "'0' is no whole number from 1 to 999999999"),
        ("--federation-rate 1000000000", "'1000000000' is no whole number from 1 to 999999999"),
    ],
)
def test_mistakes(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what was expected."""
    assert main(words.split()) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "unsigned"),
    [
        (InboundSettings(), "refused"),
        (InboundSettings(listed=(Listed("a.test"),)), "listed"),
        (InboundSettings(open_to_all=True, listed=(Listed("a.test"),)), "accepted"),
    ],
)
def test_what_is_published(settings: InboundSettings, unsigned: str) -> None:
    """What relays that post here have to know; not who is listed."""
    assert settings.shown("b.test") == {
        "name": "b.test",
        "unsigned": unsigned,
        "link": True,
        "clock_s_max": 60,
        "rate": {"count": 30_000, "window_s": 60},
    }


def test_a_key_file_that_is_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The relay does not start, and says why without what the file holds."""
    path = tmp_path / "relay.key"
    path.write_text("some secret words")
    path.chmod(0o600)
    words = ["--listen", "127.0.0.1:0", "--data", str(tmp_path / "data"), "--key-file", str(path)]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert f"rmb-relay: the key file {path} holds no key: a mnemonic has" in error
    assert "secret words" not in error
