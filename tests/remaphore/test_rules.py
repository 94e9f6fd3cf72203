"""Rules of the pure parts that no vector covers: who signs, who is remembered, who counts, when a lease ends."""

from dataclasses import replace

import pytest

from rmb_peer.remaphore.core import configuration, envelopes, replies, subjects
from rmb_peer.remaphore.core.command_line import Flag, Usage, parse, usage
from rmb_peer.remaphore.core.envelopes import CannotSign, Draft, Refused
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.lease import Lease
from rmb_peer.remaphore.core.quorum import Impossible, Quorum, group, read_count
from rmb_peer.remaphore.core.seen import Full, SeenSet
from rmb_peer.remaphore.options import LOCK, MAIN, BadOptions, main_options
from tests.support.remaphore_vectors import VECTORS, identity, public, settings


def draft(verb: bytes = b"ping", signer: bytes | None = None) -> Draft:
    return Draft(b"**", verb, b"", False, b"u", signer)


# --- who signs (section 6, R6) ----------------------------------------------------------------------------------------


def test_the_verb_selects_the_identity() -> None:
    """Without -p, an identity that allows the verb is taken if the default one does not; with -p only that one."""
    two = replace(settings("bravo"), identities=(identity("bravo", b"ping"), identity("delta", b"roll")))
    assert envelopes.check_draft(two, draft(b"ping")).public == public("bravo")
    assert envelopes.check_draft(two, draft(b"roll")).public == public("delta")
    with pytest.raises(CannotSign, match="no private key"):
        envelopes.check_draft(two, draft(b"roll", signer=public("bravo")))


def test_only_the_first_entry_of_a_key_counts() -> None:
    """A second line of the same identity with more verbs is dead."""
    twice = replace(settings("bravo"), identities=(identity("bravo", b"ping"), identity("bravo", b"roll")))
    with pytest.raises(CannotSign, match="no private key"):
        envelopes.check_draft(twice, draft(b"roll"))


def test_a_mismatched_identity_never_signs() -> None:
    """Neither messages nor answers are signed with a private key of another public key."""
    wrong = replace(identity("bravo"), consistent=False)
    ours = replace(settings("bravo"), identities=(wrong,))
    with pytest.raises(CannotSign, match="another public key"):
        envelopes.check_draft(ours, draft())
    with pytest.raises(CannotSign, match="another public key"):
        envelopes.sign_reply(ours, b"", b"u", 1)


def test_an_unknown_default_identity_fails_only_when_it_has_to_sign() -> None:
    """It is no error in the file; an answer cannot be made with it."""
    ours = replace(settings("bravo"), default_identity=public("delta"))
    with pytest.raises(CannotSign):
        envelopes.sign_reply(ours, b"", b"u", 1)


def test_the_verb_of_answers_is_reserved() -> None:
    """Nobody sends a message with verb reply."""
    with pytest.raises(CannotSign, match="reserved"):
        envelopes.check_draft(settings("alpha"), draft(b"reply"))


def test_a_hint_when_only_the_case_differs() -> None:
    """The first line is that of the Go program."""
    with pytest.raises(CannotSign) as error:
        envelopes.check_draft(settings("bravo"), draft(b"Ping"))
    assert str(error.value).split("\n") == [
        "no private key with sender permission found",
        "verbs in the configuration are lower case: did you mean ping?",
    ]


def test_another_key_over_the_same_bytes_is_refused() -> None:
    """The sender field is outside the signed bytes; the signature binds it all the same (W22)."""
    encoded = envelopes.sign(identity("alpha"), draft(), 5)
    other = envelopes.sign(identity("zero"), draft(), 5)
    stolen = other.split(b",")[0] + encoded[encoded.index(b",") :]
    with pytest.raises(Refused, match="signature corrupt"):
        envelopes.open_message(settings("bravo"), stolen, 5)


# --- replays (W11) ----------------------------------------------------------------------------------------------------


def test_a_message_is_new_once_within_its_window() -> None:
    """It is forgotten only after its time, when the clock refuses it anyway."""
    seen = SeenSet()
    assert seen.first_time(b"s", b"m", until_ns=10, now_ns=1)
    assert not seen.first_time(b"s", b"m", until_ns=10, now_ns=10)
    assert seen.first_time(b"other", b"m", until_ns=10, now_ns=10)
    assert seen.first_time(b"s", b"m", until_ns=20, now_ns=11)
    assert len(seen) == 1


def test_a_full_memory_refuses_instead_of_forgetting() -> None:
    """At the limit nothing new is taken, known ones are still known, and room comes with time."""
    seen = SeenSet(limit=2)
    assert seen.first_time(b"s", b"1", 10, 1)
    assert seen.first_time(b"s", b"2", 20, 1)
    with pytest.raises(Full):
        seen.first_time(b"s", b"3", 30, 1)
    assert not seen.first_time(b"s", b"1", 10, 1)
    assert seen.first_time(b"s", b"3", 30, 11)


# --- filters ----------------------------------------------------------------------------------------------------------


def test_the_matched_name() -> None:
    """The own name if it matches, also with -d; else the name of -D that let the message in; else none (section 12)."""
    own = Filter(own_name=b"com.a.b")
    assert own.matched_name(b"com.**") == b"com.a.b"
    assert own.matched_name(b"org.**") is None
    assert replace(own, any_destination=True).matched_name(b"com.**") == b"com.a.b"
    assert replace(own, any_destination=True).matched_name(b"org.**") is None
    other = replace(own, other_name=b"org.x")
    assert other.matched_name(b"org.*") == b"org.x"
    assert other.matched_name(b"**") == b"com.a.b"


# --- counting ---------------------------------------------------------------------------------------------------------


def test_a_group_is_who_may_report() -> None:
    """Peers without the verb, outside the pattern, or listed a second time are not in it."""
    ours = settings("alpha")
    assert [peer.destination for peer in group(ours, b"**", [b"ping"]).values()] == [
        b"com.example.us.bravo",
        b"com.example.us.zero",
    ]
    assert len(group(ours, b"**", [])) == 2
    assert len(group(ours, b"com.example.us.b*", [])) == 1
    assert group(ours, b"**", [b"deploy"]) == {}
    assert len(group(settings("bravo"), b"com.example.us.alpha", [b"deploy"])) == 1


@pytest.mark.parametrize(("count", "wanted"), [("all", 2), ("any", 1), ("1", 1), ("2", 2)])
def test_a_quorum_counts_each_peer_once(count: str, wanted: int) -> None:
    """It is reached by so many different peers, however often each sends."""
    members = group(settings("alpha"), b"**", [])
    count_of = Quorum(members, read_count(count), of=2)
    assert count_of.wanted == wanted
    assert count_of.report(public("delta")) is None
    first = count_of.report(public("zero"))
    assert first is not None
    assert count_of.report(public("zero")) is None
    assert count_of.reported == 1
    assert count_of.reached is (wanted == 1)
    assert [peer.destination for peer in count_of.missing] == [b"com.example.us.bravo"]
    count_of.report(public("bravo"))
    assert count_of.reached


@pytest.mark.parametrize(("count", "of"), [(3, None), (2, 8), ("all", 1), (1, 0)])
def test_what_can_never_hold_is_refused(count: int, of: int | None) -> None:
    """More than there are, or another number of peers than was promised."""
    with pytest.raises(Impossible):
        Quorum(group(settings("alpha"), b"**", []), count, of)


def test_nobody_is_no_quorum() -> None:
    """All of nobody is refused, too."""
    with pytest.raises(Impossible):
        Quorum({}, "all", None)


# --- leases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length_s", [1, 3, 30, 3600])
def test_a_holder_lets_go_before_the_server_does(length_s: int) -> None:
    """Renew, let go, kill and expiry come in this order, counted from the sending, with a reserve at the end."""
    lease = Lease(length_s, sent_s=100.0)
    assert 100 < lease.renew_s < lease.let_go_s < lease.kill_s < 100 + length_s
    assert lease.renewed(200.0).kill_s == pytest.approx(lease.kill_s + 100)


# --- command line -----------------------------------------------------------------------------------------------------


def test_flags_after_the_name_of_a_lock() -> None:
    """`lock NAME --lease 5s -- COMMAND -x`: flags on both sides of the name, and none of the command's."""
    first = parse(LOCK, ["-t", "1s", "name", "--lease", "5s", "--", "run", "-x"])
    both = parse(LOCK, first.arguments[1:], before=first)
    assert both.arguments == ["run", "-x"]
    assert (both.number("t"), both.number("lease")) == (1_000_000_000, 5_000_000_000)


def test_go_flag_rules() -> None:
    """What differs from getopt: a value may look like a flag, the last one wins, parsing stops early."""
    parsed = parse(MAIN, ["-D", "-x", "--v=a", "-v", "b", "-s", "hello", "-v", "c"])
    assert (parsed.text("D"), parsed.text("v"), parsed.on("s")) == ("-x", "b", True)
    assert parsed.arguments == ["hello", "-v", "c"]
    assert parse(MAIN, ["-o=T", "-o=0", "-"]).arguments == ["-"]
    assert parse(MAIN, ["--", "-s"]).arguments == ["-s"]
    with pytest.raises(Usage, match=r'invalid value "1\.5" for flag -n: parse error'):
        parse([Flag("n", "whole", "")], ["-n", "1.5"])


def test_usage_lists_the_flags_of_go() -> None:
    """In byte order, laid out as Go does."""
    lines = usage("remaphore", MAIN)
    assert lines.startswith(
        "Usage of remaphore:\n  -C\tPrint example config file\n  -D string\n    \tSpecify destination"
    )
    assert '  -c string\n    \tPath to config file (default "/etc/remaphore/remaphore.conf")\n  -d\tDo not' in lines
    names = [line.split()[0] for line in lines.splitlines() if line.startswith("  -")]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--durable"], "--durable needs -u or -v"),
        (["-s", "--retention", "5s"], "--retention needs --durable"),
        (["-s", "--durable", "--retention", "0s"], "at least 1s"),
        (["-s", "--durable", "--retention", "999ms"], "at least 1s"),
    ],
)
def test_flags_that_do_not_go_together(argv: list[str], text: str) -> None:
    """They are refused before anything is read."""
    with pytest.raises(BadOptions, match=text):
        main_options(parse(MAIN, argv))


# --- subjects ---------------------------------------------------------------------------------------------------------


def test_servers_are_split_and_completed() -> None:
    """Several values, several in one value; scheme and port are filled in."""
    assert subjects.server_urls(("nats://a:4222", "b:1, tls://c ,,", "d", "ws://e", "nats://[::1]:7")) == [
        "nats://a:4222", "nats://b:1", "tls://c:4222", "nats://d:4222", "ws://e", "nats://[::1]:7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value", ["nats://u:hunter2@h:99999", "nats://u:hunter2@[::1", "http://u:hunter2@h", "nats://u:hunter2@"]
)
def test_bad_servers_are_named_without_their_password(value: str) -> None:
    """The error begins as Go's and does not hold the login."""
    with pytest.raises(subjects.BadServer) as error:
        subjects.server_urls((value,))
    assert str(error.value).startswith('parse "')
    assert "hunter2" not in str(error.value)


def test_kept_messages_are_found_by_their_rendezvous_value() -> None:
    """The key of a message lies below the pattern of who waits for it, and below no other."""
    encoded = bytes.fromhex(VECTORS["messages"][0]["encoded_hex"])
    message = envelopes.open_message(settings("bravo"), encoded, 1_700_000_000_123_456_789)
    key = subjects.kept_key("remaphore.all", message, encoded).split(".")
    for pattern, fits in (
        (subjects.kept_filter("remaphore.all", b"upload_done"), True),
        (subjects.kept_filter("remaphore.all", b""), True),
        (subjects.kept_filter("remaphore.>", b"upload_done"), True),
        (subjects.kept_filter("remaphore.all", b"other"), False),
        (subjects.kept_filter("remaphore.blue", b""), False),
    ):
        assert all(want in ("*", got) for want, got in zip(pattern.split("."), key, strict=True)) is fits


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_terminal_is_not_steered() -> None:
    """Escapes of others are shown as text to a person, and kept as they are for a program."""
    payload = b"0,a\x1b[31mred\x07"
    assert replies.printed(b"n", payload, "S", terminal=True) == b"n,0,a\\x1b[31mred\\a\n"
    assert replies.printed(b"n", payload, "S", terminal=False) == b"n,0,a\x1b[31mred\x07\n"


def test_doubts_about_a_configuration() -> None:
    """What is probably not meant is named."""
    lines = VECTORS["configs"]["alpha"].replace("destination: com", "destination: *").replace("subject:", "subjekt:")
    doubts = " ".join(configuration.parse((lines + lines.split("[ Peers ]")[1]).encode())[1])
    for word in ("unknown key 'subjekt'", "contains `*`", "is listed twice"):
        assert word in doubts


def test_the_example_reads_back() -> None:
    """`-C` prints a file that works, with a key pair of its own each time."""
    one, other = configuration.example(b"1" * 32), configuration.example(b"2" * 32)
    assert configuration.parse(configuration.show(one).encode()) == (one, [])
    assert one.identities[0].public != other.identities[0].public
    assert configuration.show(one).split("\n")[0] == "server: nats://natsserver:4222"
