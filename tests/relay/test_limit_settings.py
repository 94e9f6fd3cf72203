"""Flags of the limits: what they mean, and mistakes that end with one clear line."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli import main, parse_arguments
from relay.client_address import LOOPBACK, parse_network
from relay.limit_settings import LimitSettings, parse_rate, show
from relay.token_bucket import Rate


def test_all_flags() -> None:
    """Each sets what it says."""
    arguments = (
        "--rate-messages 100/s,2000 --rate-bytes 1MiB --slow-max 2.5 --sessions-per-twin 3 --connections-per-address 4 "
        "--uncounted 192.0.2.0/24 --handshake-max 5 --body-max 6 --silent-connections 7 --admission ticket --admit 8 "
        "--admit 9 --admit-file twins --ticket-file tickets --tls-cert c.pem --tls-key k.pem "
        "--trusted-proxy 10.0.0.0/8 --trusted-proxy ::1"
    )
    assert parse_arguments(shlex.split(arguments)).limits == LimitSettings(
        rate_messages=Rate(100, 2000),
        rate_bytes=Rate(2**20, 10 * 2**20),
        slow_s_max=2.5,
        sessions_per_twin=3,
        connections_per_address=4,
        uncounted=(*LOOPBACK, parse_network("192.0.2.0/24")),
        handshake_s=5.0,
        body_s=6.0,
        silent_max=7,
        admission="ticket",
        admit=frozenset({8, 9}),
        admit_file=Path("twins"),
        ticket_file=Path("tickets"),
        trusted_proxies=(parse_network("10.0.0.0/8"), parse_network("::1/128")),
        tls_certificate=Path("c.pem"),
        tls_key=Path("k.pem"),
    )


def test_none_takes_a_limit_away() -> None:
    """Those that can be taken away."""
    flags = ("--rate-messages", "--rate-bytes", "--sessions-per-twin", "--connections-per-address")
    limits = parse_arguments([word for flag in flags for word in (flag, "none")]).limits
    assert (limits.rate_messages, limits.rate_bytes) == (None, None)
    assert (limits.sessions_per_twin, limits.connections_per_address) == (None, None)
    assert limits.told()["rate_bytes"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--rate-messages fast", "'fast' is no rate: expected N/s or N/s,BURST"),
        ("--rate-messages 0/s", "is no rate"),
        ("--rate-bytes 1MB", "is no rate"),
        ("--slow-max 0", "'0' is no number of seconds above 0"),
        ("--handshake-max -1", "--handshake-max"),
        ("--body-max nan", "'nan' is no number of seconds"),
        ("--sessions-per-twin 0", "'0' is no whole number above 0"),
        ("--silent-connections none", "'none' is no whole number above 0"),
        ("--trusted-proxy caddy", "'caddy' is no network: expected for example 10.0.0.0/8"),
        ("--uncounted 10.0.0.1/8", "is no network"),
        ("--admit x", "'x' is no twin id"),
        ("--admission friends", "invalid choice"),
        ("--admit 7", "--admit and --admit-file need --admission list (or ticket)"),
        ("--admission list", "--admission list needs --admit or --admit-file, or nobody could sign in"),
        ("--admission ticket", "--admission ticket needs --ticket-file"),
        ("--ticket-file x", "--ticket-file needs --admission ticket"),
        ("--tls-key k.pem", "--tls-key needs --tls-cert"),
    ],
)
def test_wrong_arguments(arguments: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; the last line says what is wrong."""
    assert main(shlex.split(arguments)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("rmb-relay: error: ")
    assert text in last


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--tls-cert {}/none.pem", "--tls-cert: cannot read {}/none.pem: No such file or directory"),
        ("--admission list --admit-file {}/none", "cannot read {}/none: No such file or directory"),
    ],
)
def test_files_that_cannot_be_used(
    arguments: str, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1, one line, no traceback; and before anything is started."""
    data = tmp_path / "data"
    words = shlex.split(arguments.format(tmp_path))
    assert main(["--listen", "127.0.0.1:0", "--data", str(data), *words]) == 1
    assert capsys.readouterr().err.strip() == f"rmb-relay: {text.format(tmp_path)}"
    assert not data.exists()


def test_what_is_told_and_what_is_not() -> None:
    """Clients see what may hit them; lists, tickets and trusted networks are nobody's business."""
    told = LimitSettings(admission="list", admit=frozenset({4711}), ticket_file=Path("geheim")).told()
    assert told["admission"] == "list"
    assert "4711" not in str(told) and "geheim" not in str(told)


@given(st.integers(1, 10**14), st.integers(1, 10**14))
def test_a_rate_reads_as_it_is_shown(per_s: int, burst: int) -> None:
    """And without a burst it is ten seconds' worth."""
    assert parse_rate(show(Rate(per_s, burst))) == Rate(per_s, burst)
    assert parse_rate(f"{per_s}") == parse_rate(f"{per_s}/s") == Rate(per_s, 10 * per_s)


@given(st.text())
def test_any_text_is_a_rate_or_is_refused(text: str) -> None:
    """With a text that says what is expected."""
    try:
        assert parse_rate(text).per_s > 0
    except ValueError as error:
        assert "expected N/s" in str(error)
