"""Tokens: the vectors, each row of spec 4.3 that a token can fail by itself, and noise."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmb_peer.protocol.address import Address
from rmb_peer.protocol.signatures import KEY_TYPES, KeyType, Signer
from rmb_peer.protocol.token import (
    TOKEN_CHARS_MAX,
    TOKEN_LIFETIME_S,
    TOKEN_LIFETIME_S_MAX,
    InvalidToken,
    make_token,
    parse_token,
)
from tests.support.envelopes import U32, texts
from tests.support.vectors import VECTORS, identity_of

VECTOR = VECTORS["tokens"]
CLAIMS: dict[str, Any] = VECTOR["claims"]
TOKEN = VECTOR["tokens"]["ed25519"]
HEADER_PART, CLAIMS_PART, SIGNATURE_PART = TOKEN.split(".")
ED, SR = identity_of("A", "ed25519").signer, identity_of("A", "sr25519").signer
IAT, EXP = CLAIMS["iat"], CLAIMS["exp"]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token_of(claims: object, header: object = None, signer: Signer = ED) -> str:
    """A correctly signed token of any content; texts are taken as raw JSON."""
    header = {"alg": "RS512"} if header is None else header
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(b64(part.encode(errors="surrogatepass")) for part in parts)
    return f"{signed}.{b64(signer.sign(signed.encode()))}"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


# --- vectors and forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_vectors_open(key_type: KeyType) -> None:
    """Vector A.9: both schemes are read and verify."""
    token = parse_token(VECTOR["tokens"][key_type])
    assert (token.owner, token.issued_at_s, token.expires_at_s) == (Address(7), IAT, EXP)
    token.check_time(IAT)
    token.verify(identity_of("A", key_type).account)


def test_ed25519_vector_is_reproduced() -> None:
    """Vector A.9: our token is the one that the Rust gateway writes, byte for byte."""
    assert make_token(ED, Address(7), IAT, EXP - IAT) == TOKEN


def test_size_of_the_signature_part() -> None:
    """65 bytes are 87 characters without padding (spec 4.1)."""
    assert len(make_token(SR, Address(7), IAT).split(".")[2]) == 87


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", 5], ids=repr)
def test_header_with_and_without_typ(typ: object) -> None:
    """Appendix C 3: Go and TypeScript write `typ`, Rust does not; it is not looked at."""
    header = {"alg": "RS512"} if typ is None else {"alg": "RS512", "typ": typ}
    parse_token(token_of(CLAIMS, header)).verify(ED.account)


def test_header_of_go_and_typescript() -> None:
    """Appendix C 3, vector A.9: their header, as they write it."""
    signed = f"{VECTOR['header_of_go_and_typescript']}.{CLAIMS_PART}"
    parse_token(f"{signed}.{b64(SR.sign(signed.encode()))}").verify(SR.account)


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        pytest.param(without("sid"), Address(7), id="missing"),
        pytest.param(CLAIMS | {"sid": None}, Address(7), id="null"),
        pytest.param(CLAIMS | {"sid": ""}, Address(7, ""), id="empty"),
        pytest.param(CLAIMS | {"sid": "js"}, Address(7, "js"), id="non-empty"),
        pytest.param(CLAIMS | {"sid": "\u00fc\u4f60"}, Address(7, "\u00fc\u4f60"), id="not-ascii"),
    ],
)
def test_session_of_a_token(claims: dict[str, Any], owner: Address) -> None:
    """Appendix C 3 and 4: missing and null are no session, empty is one (spec 4.1)."""
    token = parse_token(token_of(claims))
    assert token.owner == owner
    token.verify(ED.account)


def test_order_and_unknown_claims_do_not_matter() -> None:
    """Claims in any order, with others between them (spec 4.1)."""
    parse_token(token_of({"aud": "x", "exp": EXP, "nbf": "never", "iat": IAT, "sub": 7})).verify(ED.account)


@pytest.mark.parametrize(
    ("name", "value"), [("sub", 2**32 - 1), ("sub", 0), ("exp", 2**64 - 1), ("iat", 0), ("iat", 2**64 - 1)]
)
def test_largest_and_smallest_numbers(name: str, value: int) -> None:
    """Limits of u32 and u64 are numbers of a token; `iat` is never compared with anything."""
    parse_token(token_of(CLAIMS | {name: value})).verify(ED.account)


# --- spec 4.3, row 2: what cannot be read -----------------------------------------------------------------------------

NO_INTEGERS: dict[str, str] = {
    "true": "true", "float": "7.0", "exponent": "7e0", "text": '"7"', "null": "null", "negative": "-7", "array": "[7]",
    "object": "{}", "beyond-u64": "18446744073709551616", "huge": "1" * 309, "infinite": "1" + "0" * 400, "nan": "NaN",
}  # fmt: skip
PARTS: dict[str, tuple[str, str]] = {
    "empty": ("", "No header component found in token string"),
    "no-header": (f".{CLAIMS_PART}.{SIGNATURE_PART}", "No header component found in token string"),
    "no-claims": (HEADER_PART, "No claims component found in token string"),
    "no-signature": (f"{HEADER_PART}.{CLAIMS_PART}", "No signature component found in token string"),
    "four-parts": (f"{TOKEN}.x", "Too many components found in token string"),
    "many-dots": ("." * 2000, "No header component found in token string"),
    "text": ("hello", "No claims component found in token string"),
}
CONTENT: dict[str, tuple[str, str]] = {
    "header-no-base64": (f"!{HEADER_PART}.{CLAIMS_PART}.{SIGNATURE_PART}", "invalid header"),
    "header-padded": (f"{HEADER_PART}=.{CLAIMS_PART}.{SIGNATURE_PART}", "invalid header"),
    "claims-no-base64": (f"{HEADER_PART}.{CLAIMS_PART} .{SIGNATURE_PART}", "invalid claims"),
    "claims-empty": (f"{HEADER_PART}..{SIGNATURE_PART}", "invalid claims"),
    "claims-standard-alphabet": (f"{HEADER_PART}.+/+/.{SIGNATURE_PART}", "invalid claims"),
    "claims-not-ascii": (f"{HEADER_PART}.\u00e9\u00e9.{SIGNATURE_PART}", "invalid claims"),
    "claims-surrogate": (f"{HEADER_PART}.\udcff.{SIGNATURE_PART}", "invalid claims"),
    "signature-no-base64": (f"{HEADER_PART}.{CLAIMS_PART}.!!!", "invalid signature"),
    "signature-impossible-length": (f"{HEADER_PART}.{CLAIMS_PART}.AAAAA", "invalid signature"),
    "signature-bits-left-over": (f"{HEADER_PART}.{CLAIMS_PART}.{SIGNATURE_PART[:-1]}p", "invalid signature"),
    "header-no-json": (token_of(CLAIMS, "{alg:RS512}"), "invalid header"),
    "header-no-object": (token_of(CLAIMS, ["RS512"]), "invalid header: expected a JSON object"),
    "header-without-alg": (token_of(CLAIMS, {"typ": "JWT"}), "invalid header: `alg` must be a string"),
    "header-alg-no-text": (token_of(CLAIMS, {"alg": 5}), "invalid header: `alg` must be a string"),
    "claims-no-json": (token_of('{"sub":7'), "invalid claims"),
    "claims-trailing": (token_of(json.dumps(CLAIMS) + "x"), "invalid claims"),
    "claims-no-object": (token_of([7]), "invalid claims: expected a JSON object"),
    "claims-no-utf-8": (f"{HEADER_PART}.{b64(bytes([0xFF]))}.{SIGNATURE_PART}", "invalid claims"),
    "claims-nested-deep": (token_of("[" * 1500), "invalid claims"),
    "sid-number": (token_of(CLAIMS | {"sid": 5}), "invalid claims: `sid` must be a string or null"),
    "sid-false": (token_of(CLAIMS | {"sid": False}), "invalid claims: `sid` must be a string or null"),
    "sid-object": (token_of(CLAIMS | {"sid": {}}), "invalid claims: `sid` must be a string or null"),
    "sid-surrogate": (token_of(CLAIMS | {"sid": "\ud800"}), "invalid claims"),
    "sub-beyond-u32": (
        token_of(CLAIMS | {"sub": 2**32}),
        "invalid claims: `sub` must be an integer from 0 to 4294967295",
    ),
    "too-long": ("a" * (TOKEN_CHARS_MAX + 1), "token is longer than 4096 characters"),
    **{
        f"{name}-missing": (token_of(without(name)), f"invalid claims: `{name}` must be an integer")
        for name in ("sub", "iat", "exp")
    },
    **{
        f"{name}-{kind}": (token_of(json.dumps(CLAIMS | {name: "?"}).replace('"?"', text)), "invalid claims: ")
        for name in ("sub", "iat", "exp")
        for kind, text in NO_INTEGERS.items()
    },
}


@pytest.mark.parametrize(("text", "detail"), PARTS.values(), ids=PARTS.keys())
def test_row_2_of_4_3_components(text: str, detail: str) -> None:
    """The number of parts: 401 with exactly the texts of the existing relay."""
    with pytest.raises(InvalidToken) as caught:
        parse_token(text)
    assert (caught.value.code, str(caught.value)) == (401, f"invalid jwt: jwt: {detail}")


@pytest.mark.parametrize(("text", "detail"), CONTENT.values(), ids=CONTENT.keys())
def test_row_2_of_4_3_content(text: str, detail: str) -> None:
    """Base64, JSON and types of claims: 401, with the parser's text; the twin is not even looked up."""
    with pytest.raises(InvalidToken) as caught:
        parse_token(text)
    assert caught.value.code == 401
    assert str(caught.value).startswith(f"invalid jwt: jwt: {detail}")
    assert caught.value.__cause__ is None


def test_a_token_at_the_limit() -> None:
    """The longest accepted token has exactly the documented number of characters."""
    sizes = {len(token): token for n in range(2950) if len(token := make_token(ED, Address(7, "x" * n), IAT)) > 4000}
    assert max(size for size in sizes if size <= TOKEN_CHARS_MAX) > TOKEN_CHARS_MAX - 3
    for size, token in sizes.items():
        if size <= TOKEN_CHARS_MAX:
            parse_token(token)
        else:
            with pytest.raises(InvalidToken, match="longer than"):
                parse_token(token)


# --- spec 4.3, row 3: time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "text"),
    [
        pytest.param(EXP - TOKEN_LIFETIME_S_MAX, None, id="longest-rest"),
        pytest.param(EXP - 1, None, id="last-second-but-one"),
        pytest.param(EXP, None, id="equality-is-valid"),
        pytest.param(EXP + 1, "invalid jwt: jwt has expired", id="one-second-late"),
        pytest.param(2**64, "invalid jwt: jwt has expired", id="much-too-late"),
        pytest.param(
            EXP - TOKEN_LIFETIME_S_MAX - 1,
            "invalid jwt: jwt is valid for too long: at most 1200 seconds are accepted",
            id="ours-too-long",
        ),
    ],
)
def test_row_3_of_4_3_time(now: int, text: str | None) -> None:
    """`now > exp` has expired; and, ours, nobody needs a token for longer than 1200 seconds (spec 10.12)."""
    token = parse_token(TOKEN)
    if text is None:
        token.check_time(now)
        return
    with pytest.raises(InvalidToken) as caught:
        token.check_time(now)
    assert (caught.value.code, str(caught.value)) == (401, text)


def test_a_token_from_the_future_is_accepted() -> None:
    """`iat` is never checked (spec 4.1)."""
    parse_token(token_of(CLAIMS | {"iat": EXP + 10**9})).check_time(IAT)


@pytest.mark.parametrize("lifetime", [300, 60, 1000], ids=["rust", "go", "typescript"])
def test_lifetimes_of_existing_clients(lifetime: int) -> None:
    """All three are accepted when fresh (spec 4.2)."""
    parse_token(make_token(SR, Address(7), IAT, lifetime)).check_time(IAT)


def test_our_lifetime() -> None:
    """Ours is the shortest in use."""
    assert parse_token(make_token(SR, Address(7), IAT)).expires_at_s == IAT + TOKEN_LIFETIME_S == IAT + 60


# --- spec 4.3, rows 6 and 7: label and signature ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alg", "found"), [("HS256", "Hs256"), ("RS256", "Rs256"), ("none", "None"), ("rs512", "Rs512")]
)
def test_row_6_of_4_3_algorithm(alg: str, found: str) -> None:
    """Only the label `RS512` opens, in this spelling; the text swaps the names as the existing relay does."""
    token = parse_token(token_of(CLAIMS, {"alg": alg}))
    with pytest.raises(InvalidToken) as caught:
        token.verify(ED.account)
    assert str(caught.value) == f"invalid jwt: jwt: Expected algorithm type {found} but found Rs512"


ROWS_7 = {
    "wrong": b64(ED.sign(b"other")),
    "empty": "",
    "short": b64(ED.sign(b"x")[:-1]),
    "long": b64(ED.sign(b"x") + b"\0"),
    "without-type-byte": b64(ED.sign(f"{HEADER_PART}.{CLAIMS_PART}".encode())[1:]),
    "other-type-byte": b64(b"r" + ED.sign(f"{HEADER_PART}.{CLAIMS_PART}".encode())[1:]),
    "other-scheme": b64(b"s" + ED.sign(f"{HEADER_PART}.{CLAIMS_PART}".encode())[1:]),
    "of-another-twin": b64(identity_of("B", "ed25519").signer.sign(f"{HEADER_PART}.{CLAIMS_PART}".encode())),
}


@pytest.mark.parametrize("signature", ROWS_7.values(), ids=ROWS_7.keys())
def test_row_7_of_4_3_signature(signature: str) -> None:
    """Wrong content, length or type byte: one text for all."""
    token = parse_token(f"{HEADER_PART}.{CLAIMS_PART}.{signature}")
    with pytest.raises(InvalidToken) as caught:
        token.verify(ED.account)
    assert (caught.value.code, str(caught.value)) == (401, "invalid jwt: jwt: Invalid signature")


def test_row_9_of_4_3_all_good() -> None:
    """A fresh token of the right twin passes every check."""
    token = parse_token(make_token(ED, Address(7, "x"), IAT))
    token.check_time(IAT)
    token.verify(ED.account)


def test_claims_of_one_token_do_not_go_with_the_signature_of_another() -> None:
    """Every part of the token is covered by its signature."""
    other = make_token(ED, Address(8), IAT, EXP - IAT).split(".")[1]
    with pytest.raises(InvalidToken, match="Invalid signature"):
        parse_token(f"{HEADER_PART}.{other}.{SIGNATURE_PART}").verify(ED.account)


def test_repr_opens_nothing() -> None:
    """A token in a log line does not contain what would open a connection."""
    shown = repr(parse_token(TOKEN))
    assert SIGNATURE_PART[:10] not in shown
    assert CLAIMS_PART[:10] not in shown
    assert "_sign" not in shown


# --- audience (ours) --------------------------------------------------------------------------------------------------


def test_a_token_may_name_its_relay() -> None:
    """As `aud`, which others ignore; without one not a byte is different."""
    owner = Address(7)
    token = parse_token(make_token(ED, owner, IAT, 60, "relay.test:8080"))
    assert (token.owner, token.audience) == (owner, "relay.test:8080")
    token.verify(ED.account)
    assert parse_token(make_token(ED, owner, IAT, 60)).audience is None
    assert make_token(ED, Address(7), IAT, EXP - IAT) == TOKEN


@pytest.mark.parametrize("audience", [1, True, ["relay.test"], {}])
def test_an_audience_is_text(audience: object) -> None:
    """Anything else is refused, since it was meant as a restriction."""
    with pytest.raises(InvalidToken, match="`aud` must be a string"):
        parse_token(token_of({**CLAIMS, "aud": audience}))


# --- noise ------------------------------------------------------------------------------------------------------------


@given(U32, st.none() | texts, st.integers(0, 2**63), st.integers(0, 1200), st.sampled_from(KEY_TYPES))
def test_round_trip(twin: int, session: str | None, now: int, lifetime: int, key_type: KeyType) -> None:
    """What is made is read again, verifies for its maker and for nobody else."""
    signer = identity_of("C", key_type).signer
    token = parse_token(make_token(signer, Address(twin, session), now, lifetime))
    assert (token.owner, token.issued_at_s, token.expires_at_s) == (Address(twin, session), now, now + lifetime)
    token.check_time(now)
    token.verify(signer.account)
    with pytest.raises(InvalidToken):
        token.verify(identity_of("B", key_type).account)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
claim_noise = st.fixed_dictionaries({}, optional=dict.fromkeys(CLAIMS, json_values))


@given(
    st.text(st.characters(), max_size=60)
    | st.text("AQgw.-_=+/ e", max_size=40)
    | st.builds(token_of, claim_noise, st.none() | st.fixed_dictionaries({}, optional={"alg": json_values}))
)
def test_noise_never_crashes(text: str) -> None:
    """Any text, and any JSON in a well-formed token, is a token or InvalidToken."""
    with suppress(InvalidToken):
        token = parse_token(text)
        token.check_time(IAT)
        token.verify(SR.account)


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_changed_character_opens_nothing(at: int, character: str) -> None:
    """Each character of a token matters, the last one with its unused bits included."""
    text = TOKEN[:at] + character + TOKEN[at + 1 :]
    if text == TOKEN:
        return
    with pytest.raises(InvalidToken):
        parse_token(text).verify(ED.account)
