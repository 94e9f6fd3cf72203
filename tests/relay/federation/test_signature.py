"""Signatures of relays: vectors that other libraries computed, every refusal, and noise."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.federation.signature import (
    CLOCK_S_MAX,
    HEADER_CHARS_MAX,
    BadPostSignature,
    SignedPost,
    parse_header,
    sign_post,
    signed_bytes,
)
from relay.identity import RelayIdentity

POSTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "relay_post.json").read_text(encoding="utf-8")
)["posts"]
POST = POSTS[1]
each_post = pytest.mark.parametrize("post", POSTS, ids=lambda post: str(post["name"]))


def claim_of(header: str) -> SignedPost:
    claim = parse_header(header)
    assert claim is not None
    return claim


def refusal_of(header: str) -> str:
    with pytest.raises(BadPostSignature) as info:
        parse_header(header)
    return str(info.value)


@each_post
def test_vectors_signing(post: dict[str, Any]) -> None:
    """What is signed, and the whole header."""
    body = bytes.fromhex(post["body"])
    assert signed_bytes(post["from"], post["to"], post["ts"], body).hex() == post["signed_bytes"]
    identity = RelayIdentity(bytes.fromhex(post["seed"]))
    assert identity.public_key.hex() == post["relay_key"]
    assert sign_post(identity, post["from"], post["to"], body, post["ts"] + 0.9) == {"Authorization": post["header"]}


@each_post
def test_vectors_checking(post: dict[str, Any]) -> None:
    """The header is read, and holds for its key, body, names and time only."""
    claim, key, body = claim_of(post["header"]), bytes.fromhex(post["relay_key"]), bytes.fromhex(post["body"])
    assert claim == SignedPost(post["from"], post["to"], post["ts"], base64.b64decode(post["sig"]))
    assert claim.is_signed_by(key, body)
    assert not claim.is_signed_by(key, body + b"\0")
    assert not claim.is_signed_by(bytes(32), body)
    others = [
        ("x", post["to"], post["ts"]),
        (post["from"], "x", post["ts"]),
        (post["from"], post["to"], post["ts"] ^ 1),
    ]
    for from_domain, to_domain, ts_s in others:
        assert not SignedPost(from_domain, to_domain, ts_s, claim.signature).is_signed_by(key, body)


def test_names_do_not_run_into_each_other() -> None:
    """`ab` to `c` is signed differently from `a` to `bc`."""
    assert signed_bytes("ab", "c", 1, b"") != signed_bytes("a", "bc", 1, b"")


@pytest.mark.parametrize("header", [None, "", "Bearer abc", "Basic eDp5", "RMB-RelayX from=", "rmb", "\t", 'from="a"'])
def test_other_headers(header: str | None) -> None:
    """No header and headers of other schemes are no signature, and no mistake."""
    assert parse_header(header) is None


@pytest.mark.parametrize(
    "header",
    [
        POST["header"].replace("RMB-Relay", "rmb-relay"),
        POST["header"].replace(", ", ","),
        POST["header"].replace(", ", " ,\t "),
        POST["header"].replace('from="', 'From = "'),
        POST["header"] + ', v="2"',
        f"  {POST['header']} ,",
        "RMB-Relay " + ", ".join(reversed(POST["header"].removeprefix("RMB-Relay ").split(", "))),
    ],
)
def test_spellings(header: str) -> None:
    """The scheme in any case, parameters in any order, white space and new parameters are fine (RFC 9110, 11.4)."""
    assert claim_of(header) == claim_of(POST["header"])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (POST["header"], "RMB-Relay", "the RMB-Relay header lacks from, to, ts, sig"),
        (', ts="1700000000"', "", "the RMB-Relay header lacks ts"),
        (", ts", ', from="a", ts', "the RMB-Relay header gives from twice"),
        (", ts", " ts", 'the RMB-Relay header is malformed: expected name="value", ...'),
        ('"1700000000"', "1700000000", 'the RMB-Relay header is malformed: expected name="value", ...'),
        ("relay.ex", r"relay\.ex", 'the RMB-Relay header is malformed: expected name="value", ...'),
        ("relay.ex", "Relay.ex", "from in the RMB-Relay header must be written as 'relay.example.org'"),
        ("relay.ex", "rel@y.ex", "from in the RMB-Relay header: 'rel@y.example.org' is not a relay: expected host "
         "or host:port (ASCII, no dot at the end)"),
        ("relay.02.example.org", "", "to in the RMB-Relay header: '' is not a relay: expected host or host:port "
         "(ASCII, no dot at the end)"),
        ("1700000000", "01700000000", "ts in the RMB-Relay header is not a number of seconds"),
        ("1700000000", "-1", "ts in the RMB-Relay header is not a number of seconds"),
        ("1700000000", "1e9", "ts in the RMB-Relay header is not a number of seconds"),
        ("1700000000", "1000000000000", "ts in the RMB-Relay header is not a number of seconds"),
        ("1700000000", "١٢", "ts in the RMB-Relay header is not a number of seconds"),
        (POST["sig"], "", "sig in the RMB-Relay header is not the base64 of 64 bytes"),
        (POST["sig"], POST["sig"][:-4], "sig in the RMB-Relay header is not the base64 of 64 bytes"),
        (POST["sig"], "é" * 88, "sig in the RMB-Relay header is not the base64 of 64 bytes"),
        (POST["sig"], POST["sig"][:-3] + "B==", "sig in the RMB-Relay header is not the base64 of 64 bytes"),
        (POST["sig"], "-" + POST["sig"][1:], "sig in the RMB-Relay header is not the base64 of 64 bytes"),
    ],
)  # fmt: skip
def test_damaged_headers(old: str, new: str, text: str) -> None:
    """Each kind of damage has a text that says what is wrong."""
    assert old in POST["header"]
    assert refusal_of(POST["header"].replace(old, new, 1)) == text


def test_the_longest_header() -> None:
    """1024 characters after the scheme are read, one more is refused unread."""
    missing = HEADER_CHARS_MAX - len(POST["header"].removeprefix("RMB-Relay "))
    longest = POST["header"] + ',v="' + "x" * (missing - 5) + '"'
    assert claim_of(longest) == claim_of(POST["header"])
    assert refusal_of(longest + " x") == "the RMB-Relay header is longer than 1024 characters"


def test_two_names_of_full_length_fit() -> None:
    """The longest names that a record can hold."""
    names = ["a." * 126 + "a", "b." * 126 + "b"]
    headers = sign_post(RelayIdentity(bytes(32)), names[0], names[1], b"", 10**11)
    claim = claim_of(headers["Authorization"])
    assert [claim.from_domain, claim.to_domain] == names


@pytest.mark.parametrize("off_s", [-CLOCK_S_MAX, 0, CLOCK_S_MAX])
def test_clocks_that_are_close_enough(off_s: int) -> None:
    """A minute either way is accepted, to the second."""
    claim_of(POST["header"]).check_time(POST["ts"] + off_s)


@pytest.mark.parametrize(
    ("off_s", "text"),
    [
        (
            61,
            "the signature's time, 2023-11-14T22:13:20Z (1700000000), is 61 s before this relay's, "
            "2023-11-14T22:14:21Z (1700000061); at most 60 s are accepted: set the clock",
        ),
        (
            -61,
            "the signature's time, 2023-11-14T22:13:20Z (1700000000), is 61 s after this relay's, "
            "2023-11-14T22:12:19Z (1699999939); at most 60 s are accepted: set the clock",
        ),
    ],
)
def test_clocks_that_are_too_far_apart(off_s: int, text: str) -> None:
    """One second more is refused, with both times."""
    with pytest.raises(BadPostSignature) as info:
        claim_of(POST["header"]).check_time(POST["ts"] + off_s)
    assert str(info.value) == text


def test_the_latest_time_can_be_shown() -> None:
    """A time beyond what a calendar knows is refused with a text, too."""
    with pytest.raises(BadPostSignature, match=r"time, 999999999999, is \d+ s after"):
        claim_of(POSTS[3]["header"]).check_time(1.7e9)


def test_made_out_to_another_relay() -> None:
    """A post that was meant for somebody else does not count here."""
    claim = claim_of(POST["header"])
    claim.check_addressee(frozenset({"x", "relay.02.example.org"}))
    with pytest.raises(BadPostSignature) as info:
        claim.check_addressee(frozenset({"b.test", "a.test"}))
    assert str(info.value) == "the signature is made out to relay.02.example.org; this relay is a.test, b.test"


@given(st.text(max_size=200) | st.text(st.sampled_from('from="to,ts sig\\\t'), max_size=80))
def test_noise_is_refused_or_ignored(text: str) -> None:
    """No text after the scheme's name raises anything else, or is taken for a signature."""
    refusal_of(f"RMB-Relay {text}")
    assert parse_header(f"Other {text}") is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["from", "to", "ts", "sig", "v"]), st.sampled_from(["a", "", "1", POST["sig"], "A:1"])
        ),
        max_size=6,
    )
)
def test_parameters_at_random(pairs: list[tuple[str, str]]) -> None:
    """Whatever is read is complete and normal; all else is refused."""
    try:
        claim = claim_of("RMB-Relay " + ", ".join(f'{name}="{value}"' for name, value in pairs))
    except BadPostSignature:
        return
    given = dict(pairs)
    assert [claim.from_domain, claim.to_domain, str(claim.ts_s)] == [given["from"], given["to"], given["ts"]]
    assert len(claim.signature) == 64


@given(st.binary(max_size=300), st.integers(0, 10**12 - 1))
def test_what_is_signed_is_accepted(body: bytes, now_s: int) -> None:
    """Signing and checking belong together, for any body and time."""
    identity = RelayIdentity(bytes(range(32)))
    claim = claim_of(sign_post(identity, "a.test", "b.test:1", body, now_s)["Authorization"])
    assert claim.is_signed_by(identity.public_key, body)
    claim.check_time(now_s)
