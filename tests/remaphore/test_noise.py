"""Parsers under noise: they answer or refuse in their own words, and what is written can be read back."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rmb_peer.remaphore.core import (
    base58,
    command_line,
    configuration,
    credentials,
    durations,
    envelopes,
    quorum,
    replies,
    subjects,
    text,
    wire,
)
from rmb_peer.remaphore.core.configuration import BadConfig
from rmb_peer.remaphore.core.envelopes import Draft, Refused
from rmb_peer.remaphore.core.rendezvous import from_name
from rmb_peer.remaphore.core.settings import PRIVATE_CHARS_MAX, Peer, Settings
from rmb_peer.remaphore.core.wildcards import matches
from rmb_peer.remaphore.options import MAIN
from tests.support.remaphore_vectors import VECTORS, identity, settings

NOW_NS = 1_700_000_000_123_456_789
PLAIN = st.binary(max_size=40).map(lambda raw: raw.replace(b",", b""))
NAMES = st.text("abc.*", max_size=12).map(str.encode)
GENUINE = [bytes.fromhex(case["encoded_hex"]) for case in VECTORS["messages"]]


def judged(encoded: bytes, name: str = "bravo") -> wire.Message | None:
    """The message if it is believed."""
    believed = None
    for judge in (envelopes.open_message, envelopes.open_reply):
        with suppress(Refused):
            believed = judge(settings(name), encoded, NOW_NS)
    return believed


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=20), min_size=6, max_size=9).map(b",".join))
def test_noise_is_no_message(encoded: bytes) -> None:
    """Random bytes are refused with a text, never with another error."""
    assert judged(encoded) is None


@given(st.sampled_from(GENUINE), st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_an_altered_message_is_never_believed(genuine: bytes, place: int, insert: bytes, drop: int) -> None:
    """Whatever is changed in a genuine message, the copy is refused: there is one form of it only (W13)."""
    place = min(place, len(genuine))
    altered = genuine[:place] + insert + genuine[place + drop :]
    if altered not in GENUINE:
        assert judged(altered) is None


@given(
    PLAIN, PLAIN.filter(lambda verb: verb != b"reply"), st.binary(max_size=200), st.booleans(), st.binary(max_size=40)
)
def test_messages_round_trip(destination: bytes, verb: bytes, payload: bytes, wants: bool, name: bytes) -> None:
    """What is signed is believed, field for field, whatever bytes it carries."""
    draft = Draft(destination, verb, payload, wants, from_name(name or b"x"))
    encoded = envelopes.sign(identity("zero"), draft, NOW_NS)  # zero may send everything to bravo
    message = envelopes.open_message(settings("bravo"), encoded, NOW_NS)
    assert (message.destination, message.verb, message.payload) == (destination, verb, payload)
    assert (message.wants_reply, message.uuid, message.time_ns) == (wants, draft.uuid, NOW_NS)
    assert message.encoded() == encoded


@given(st.integers(-(2**63), 2**63 - 1))
def test_times_round_trip(time_ns: int) -> None:
    """All signed 64-bit times have one form."""
    encoded = envelopes.sign(identity("alpha"), Draft(b"**", b"ping", b"", False, b"u"), time_ns)
    assert envelopes.open_message(settings("bravo"), encoded, time_ns).time_ns == time_ns


@given(st.binary(max_size=100))
def test_base58_round_trips(raw: bytes) -> None:
    """Every byte string has one text."""
    assert base58.decode(base58.encode(raw).encode(), 200) == raw


def test_base58_is_bounded_before_it_is_decoded() -> None:
    """Text at the limit is read, longer text is refused at once (W3)."""
    assert len(base58.decode(b"z" * PRIVATE_CHARS_MAX, PRIVATE_CHARS_MAX)) > 0
    assert base58.decode(b"z" * (PRIVATE_CHARS_MAX + 1), PRIVATE_CHARS_MAX) == b""
    assert judged(b"z" * 10_000_000 + b",,,0,,,,") is None


@given(NAMES | st.binary(max_size=20), NAMES | st.binary(max_size=20))
def test_wildcards_always_answer(pattern: bytes, name: bytes) -> None:
    """No pair of byte strings crashes (W1); a name matches itself unless it holds a star, and `**` matches it, too."""
    assert matches(pattern, name) in (True, False)
    assert matches(name, name) is (b"*" not in name)
    assert matches(b"**", name) is (b"*" not in name)


@given(st.integers(-(2**63), 2**63 - 1))
def test_durations_round_trip(duration_ns: int) -> None:
    """What is printed is read back."""
    assert durations.parse(durations.show(duration_ns)) == duration_ns


@given(st.text(max_size=30) | st.text("0123456789.hmsuµn+-", max_size=30))
def test_durations_answer_or_refuse(duration: str) -> None:
    """Noise is a duration in 64 bits, or an error with Go's words."""
    try:
        assert -(2**63) <= durations.parse(duration) < 2**63
    except durations.BadDuration as error:
        assert str(error).startswith("time: ")


LINES = st.lists(
    st.sampled_from(VECTORS["configs"]["alpha"].split("\n"))
    | st.text(max_size=30)
    | st.text("[]:# \t.*,a1", max_size=12)
).map("\n".join)


@given(LINES.map(lambda lines: lines.encode("utf-8", "replace")) | st.binary(max_size=200))
def test_configurations_answer_or_refuse(raw: bytes) -> None:
    """Any file is settings or one sentence, and neither shows a private key."""
    private = VECTORS["keys"]["alpha"]["private"]
    try:
        ours, doubts = configuration.parse(raw)
        said = repr(ours) + "".join(doubts)
        assert configuration.parse(configuration.show(ours).encode("utf-8", "surrogateescape"))[0] == ours
    except BadConfig as error:
        said = str(error)
    assert private[:20] not in said
    assert private[-20:] not in said


@example(43, "Identities", " ")  # the first 43 characters happen to be a public key
@given(
    st.integers(0, 88),
    st.sampled_from(["Identities", "Peers", "General"]),
    st.sampled_from([" ", "\t", "", ":", " x "]),
)
def test_parts_of_private_keys_are_masked(cut: int, section: str, glue: str) -> None:
    """Wherever a private key is put by mistake, and whatever falls into it, no long part of it is shown."""
    key = VECTORS["keys"]["alpha"]
    private = key["private"][:cut] + glue + key["private"][cut:]
    for line in (
        f"{key['public']} {private} [*]",
        f"{private} {key['public']} [*]",
        f"{key['public']} {private}",
        private,
    ):
        raw = f"server: a\ncredentials: b\ndestination: c\n[ {section} ]\n{line}\n".encode()
        try:
            said = " ".join(configuration.parse(raw)[1])
        except BadConfig as error:
            said = str(error)
        length = 45 if section == "Peers" else 16  # peer lines hold public keys, and those are shown
        parts = {key["private"][at : at + length] for at in range(len(key["private"]) - length + 1)}
        assert [part for part in parts if part in said] == []


def test_a_configuration_has_a_size() -> None:
    """At the limit it is read, above it is refused."""
    raw = VECTORS["configs"]["alpha"].encode() + b"\n#"
    full = raw + b"x" * (configuration.CONFIG_BYTES_MAX - len(raw))
    assert configuration.parse(full)[0].destination == b"com.example.us.alpha"
    with pytest.raises(BadConfig, match="larger than"):
        configuration.parse(full + b"x")


WORDS = st.sampled_from(["-s", "-r", "-t", "5s", "--", "-", "-o=f", "--D", "-=x", "---", "-v=a,b", "-h"]) | st.text(
    max_size=6
)


@given(st.lists(WORDS, max_size=8))
def test_flags_answer_or_refuse(argv: list[str]) -> None:
    """Any argument list is flags and a tail of itself, or a usage error."""
    try:
        parsed = command_line.parse(MAIN, argv)
    except command_line.Usage as error:
        assert error.asked or str(error)
        return
    assert argv[len(argv) - len(parsed.arguments) :] == parsed.arguments


@given(st.binary(max_size=200))
def test_credentials_answer_or_refuse(raw: bytes) -> None:
    """Noise is no login; a file that ends early does not hang the reader."""
    for content in (raw, b"-----BEGIN NATS USER JWT-----\n" + raw):
        with pytest.raises(credentials.BadCredentials):
            credentials.parse(content)


def test_credentials_have_a_size() -> None:
    """A file above the limit is refused before it is searched."""
    block = b"-----BEGIN NATS USER JWT-----\nj\n------END NATS USER JWT------\n"
    block += b"-----BEGIN USER NKEY SEED-----\nS\n------END USER NKEY SEED------\n"
    at_limit = block + b" " * (credentials.CREDENTIALS_BYTES_MAX - len(block))
    found = credentials.parse(at_limit)
    assert (found.jwt, found.seed) == ("j", "S")
    assert "S" not in repr(found).replace("Credentials", "")
    with pytest.raises(credentials.BadCredentials, match="larger"):
        credentials.parse(at_limit + b" ")


@given(st.text(max_size=40) | st.text("nats:/@.,[]123", max_size=30))
def test_server_addresses_answer_or_refuse(value: str) -> None:
    """A value of `server` is a list of addresses, or refused."""
    with suppress(subjects.BadServer):
        for url in subjects.server_urls((value,)):
            assert "://" in url


@given(st.text(max_size=20) | st.text("a.*> ", max_size=8), st.booleans())
def test_subjects_answer_or_refuse(name: str, wildcards: bool) -> None:
    """A subject that is let through has no blanks, no empty tokens, and wildcards only where they are wanted."""
    try:
        subjects.check_subject(name, wildcards)
    except subjects.BadSubject as error:
        assert str(error) == "nats: invalid subject"
        return
    assert name
    assert not any(character in " \t\r\n\0" for character in name)
    assert all(name.split("."))
    assert wildcards or not {"*", ">"} & set(name.split("."))


@given(st.binary(max_size=60))
def test_answers_are_one_block(payload: bytes) -> None:
    """What is printed begins with the name and ends with a line feed, and a terminal is not steered."""
    for terminal in (False, True):
        printed = replies.printed(b"n", payload, "SEP", terminal)
        assert printed.endswith(b"\n")
        assert printed.startswith((b"n,", b"--> SEP\nn,"))
        assert printed.count(b"\n") == 1 or (printed.startswith(b"--> SEP\n") and printed.endswith(b"\n--< SEP\n"))
    assert b"\x1b" not in printed
    assert b"\r" not in printed


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_of_locks_are_never_shared(one: str, other: str) -> None:
    """Two locks have two keys, whatever characters their names have."""
    assert (subjects.lock_key(one) == subjects.lock_key(other)) is (one == other)
    assert (subjects.bucket(one, "x") == subjects.bucket(other, "x")) is (one == other)


@given(st.text(max_size=10))
def test_counts_answer_or_refuse(count: str) -> None:
    """`--count` is a number from 1 on, `all` or `any`."""
    with suppress(ValueError):
        value = quorum.read_count(count)
        assert value in ("all", "any") or int(value) >= 1


@given(st.binary(max_size=60))
def test_text_keeps_bytes(raw: bytes) -> None:
    """Bytes survive being text, and escaping leaves printable text alone."""
    assert text.to_bytes(text.to_text(raw)) == raw
    shown = text.without_controls(raw)
    assert text.without_controls(shown) == shown
    assert not any(byte < 0x20 or byte == 0x7F for byte in shown)


def test_peers_may_be_many() -> None:
    """The group of a large configuration is found in one pass."""
    crowd = tuple(Peer(b"com.n%d" % n, n.to_bytes(32), (b"ping",)) for n in range(1, 500))
    ours = settings("bravo")
    many = Settings(ours.servers, "c", "remaphore", ours.default_identity, b"me", 1, ours.identities, crowd)
    assert len(quorum.group(many, b"com.*", [b"ping"])) == 499
