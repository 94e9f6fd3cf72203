"""Names of commands and relays: what may become a Redis key, what may be connected to, what tfchain can store."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.errors import BadRequest, CommandRefused
from rmb_peer.protocol.names import (
    COMMAND_CHARS_MAX,
    RELAY_CHARS_MAX,
    RELAYS_MAX,
    check_command,
    join_relays,
    normalize_relay,
    relay_of_url,
    relay_set,
    split_relays,
)

# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "zos.system.version",
        "echo",
        "rmb.version",
        "my.system.local",
        "systems",
        "systematic.local",
        "backlogs.x",
        "System.local",  # Redis keys are case-sensitive: another list
        "with space",
        "\u00fcber.\u4f60",
        "x" * COMMAND_CHARS_MAX,
    ],
)
def test_ordinary_commands_pass(command: str) -> None:
    """Commands that only look like the gateway's own queues are commands."""
    check_command(command)


@pytest.mark.parametrize(
    "command", ["system", "system.local", "system.reply", "system.", "backlog", "backlog.x", "backlog."]
)
def test_own_queues_are_refused(command: str) -> None:
    """No remote command reaches `msgbus.system.*` or `msgbus.backlog.*` (spec 10.6)."""
    with pytest.raises(CommandRefused, match="names a queue of the gateway itself"):
        check_command(command)


@pytest.mark.parametrize(
    "character",
    ["\x00", "\n", "\r", "\t", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\ud800", "\udcff"],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_control_characters_are_refused(character: str) -> None:
    """Controls, C1 included, and lone surrogates never become part of a key (spec 10.6)."""
    with pytest.raises(CommandRefused, match="control characters"):
        check_command(f"a{character}b")


def test_an_empty_command_is_refused() -> None:
    """The list `msgbus.` belongs to nobody."""
    with pytest.raises(CommandRefused, match="it is empty"):
        check_command("")


def test_a_command_at_the_limit() -> None:
    """One character more than the limit is refused."""
    with pytest.raises(CommandRefused, match="longer than 255 characters"):
        check_command("x" * (COMMAND_CHARS_MAX + 1))


@given(st.text(st.characters(), max_size=300))
def test_noise_as_command(command: str) -> None:
    """Any text passes or is refused; what passes can be encoded and stays clear of our own queues."""
    try:
        check_command(command)
    except CommandRefused:
        return
    assert command.encode()
    assert not re.match(r"(system|backlog)(\.|$)", command)


# --- relays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "name"),
    [
        ("relay.grid.tf", "relay.grid.tf"),
        ("Relay.GRID.tf", "relay.grid.tf"),
        (" relay.grid.tf\n", "relay.grid.tf"),
        ("localhost", "localhost"),
        ("localhost:4001", "localhost:4001"),
        ("my_relay:4001", "my_relay:4001"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("h:1", "h:1"),
        ("h:65535", "h:65535"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]:80"),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("x" * 63 + ".y", "x" * 63 + ".y"),
    ],
)
def test_relay_names(given_: str, name: str) -> None:
    """One relay has one name: lower case, IPv6 addresses in their shortest form."""
    assert normalize_relay(given_) == name
    assert normalize_relay(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a b", "a/b", "wss://a", "a:", ":80", "a:b", "a:1:2", "::1", "[::1", "::1]", "[]", "[::::]",
        "[1.2.3.4]", "[::ffff:1.2.3.4]", "[::ffff:102:304]", "[fe80::1%eth0]", "[v1.a]", "a:0", "a:65536", "a:99999",
        "a:080", "a:-1", "a:\u0661", ".a", "a.", "a..b", "-a", "a-", "a.-b", "a-.b", "relay.grid.tf.",
        "b\u00fccher.example", "\u212aelvin", "\u0130", "a\x00b", "a\nb", "\ud800", ("x" * 50 + ".") * 5,
    ],
)  # fmt: skip
def test_no_relay_names(name: str) -> None:
    """What is neither host nor host:port is refused; international names are wanted in their ASCII form."""
    with pytest.raises(BadRequest, match="is not a relay: expected host or host:port"):
        normalize_relay(name)


def test_a_long_relay_name_is_not_repeated_whole() -> None:
    """The limit is that of DNS, and the error text stays short."""
    with pytest.raises(BadRequest) as caught:
        normalize_relay("a." * 5000)
    assert len(str(caught.value)) < 250
    longest = ".".join(["x" * 62] * 4)[:RELAY_CHARS_MAX]
    assert normalize_relay(longest) == longest


@given(
    st.text(st.characters(), max_size=80) | st.from_regex(r"\[?[0-9a-fA-F:._-]{0,20}\]?(:[0-9]{0,6})?", fullmatch=True)
)
def test_noise_as_relay(text: str) -> None:
    """Any text is a relay name or BadRequest; names are ASCII and stay as they are when normalised again."""
    try:
        name = normalize_relay(text)
    except BadRequest:
        return
    assert name.isascii()
    assert normalize_relay(name) == name


def test_relay_set_folds_repeats() -> None:
    """Case and repeats do not count; the limit is on what remains (spec 7.2, 7.3)."""
    assert relay_set(["B.tf", "a.tf", "b.tf"]) == {"a.tf", "b.tf"}
    assert len(relay_set([f"r{n % RELAYS_MAX}.tf" for n in range(20)])) == RELAYS_MAX == 4
    with pytest.raises(BadRequest, match="the number of relays should not exceed 4"):
        relay_set([f"r{n}.tf" for n in range(5)])
    assert relay_set([]) == frozenset()


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("wss://relay.grid.tf", "relay.grid.tf"),
        ("wss://relay.grid.tf:443", "relay.grid.tf"),
        ("wss://Relay.GRID.tf:443/", "relay.grid.tf"),
        ("WSS://relay.grid.tf", "relay.grid.tf"),
        ("ws://relay.grid.tf:80/path", "relay.grid.tf"),
        ("ws://relay.grid.tf:443", "relay.grid.tf:443"),
        ("wss://relay.grid.tf:80", "relay.grid.tf:80"),
        ("ws://localhost:4001", "localhost:4001"),
        ("ws://127.0.0.1:4001", "127.0.0.1:4001"),
        ("ws://[::1]:80", "[::1]"),
        ("ws://[::1]:8080/", "[::1]:8080"),
        ("wss://[0:0::1]:443", "[::1]"),
    ],
)
def test_relay_of_url(url: str, name: str) -> None:
    """The host, and the port unless it is the scheme's own."""
    assert relay_of_url(url) == name


@pytest.mark.parametrize(
    "url",
    [
        "", "relay.grid.tf", "http://h", "https://h", "wss:", "wss://", "wss:///x", "wss://:443", "ws://h:0", "ws://h:65536",
        "ws://h:x", "ws://[::1", "ws://[v1.a]", "ws://[fe80::1%25eth0]", "ws://h.", "ws://b\u00fccher.example",
        "ws://a\u2100b", "ws://a b", "ws://\udcff", "ws://u:p@h",
    ],
)  # fmt: skip
def test_no_relay_urls(url: str) -> None:
    """Anything else is refused with the form that is expected."""
    with pytest.raises(BadRequest, match="expected"):
        relay_of_url(url)


@pytest.mark.parametrize("url", ["wss://user:hunter2@relay.tf", "http://user:hunter2@relay.tf", "wss://u:hunter2@[::1"])
def test_a_password_in_a_url_is_not_repeated(url: str) -> None:
    """A URL with credentials is refused, and the refusal does not show them."""
    with pytest.raises(BadRequest) as caught:
        relay_of_url(url)
    assert "hunter2" not in str(caught.value)


@given(st.text(st.characters(), max_size=60) | st.text("ws:/[]@.%0a1", max_size=20).map("ws://".__add__))
def test_noise_as_url(url: str) -> None:
    """Any text gives a relay name or BadRequest."""
    try:
        name = relay_of_url(url)
    except BadRequest:
        return
    assert normalize_relay(name) == name


# --- the text form on tfchain -----------------------------------------------------------------------------------------


def test_relays_are_written_sorted_lower_case_without_repeats() -> None:
    """Appendix C 20: what is written is canonical (spec 7.2)."""
    assert (
        join_relays(relay_set(["Relay.grid.tf", "relay.02.grid.tf", "relay.GRID.tf"]))
        == "relay.02.grid.tf_relay.grid.tf"
    )


@pytest.mark.parametrize(
    "text",
    [
        "relay.grid.tf_relay.02.grid.tf",
        "relay.02.grid.tf_relay.grid.tf",
        "RELAY.grid.tf_relay.02.grid.tf_relay.grid.tf_",
    ],
)
def test_relays_are_compared_as_a_set(text: str) -> None:
    """Appendix C 20: order, case, repeats and empty parts do not count (spec 7.2, vector A.8)."""
    assert split_relays(text) == {"relay.grid.tf", "relay.02.grid.tf"}


def test_no_relays() -> None:
    """The empty text is the empty set, and back."""
    assert split_relays("") == frozenset()
    assert join_relays(frozenset()) == ""


@pytest.mark.parametrize("name", ["relay.grid.tf:8080", "my_relay", "[::1]"])
def test_names_that_tfchain_cannot_hold(name: str) -> None:
    """A port cannot be stored there, and `_` separates names: refused, instead of a record that means another relay."""
    with pytest.raises(BadRequest, match="cannot be stored on tfchain"):
        join_relays(frozenset({"relay.grid.tf", name}))


storable = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)


@given(st.frozensets(storable, max_size=4))
def test_join_and_split(relays: frozenset[str]) -> None:
    """A set survives its text form."""
    assert split_relays(join_relays(relays)) == relays
