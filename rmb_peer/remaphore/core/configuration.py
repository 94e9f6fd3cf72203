"""The grammar of a configuration file, both ways (spec remaphore 9).

Errors and warnings never hold key material: whatever stands where a private key may stand is masked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from nacl.signing import SigningKey

from rmb_peer.remaphore.core import base58, clock, durations
from rmb_peer.remaphore.core.settings import (
    PRIVATE_BYTES,
    PRIVATE_CHARS_MAX,
    PUBLIC_BYTES,
    PUBLIC_CHARS_MAX,
    Identity,
    Peer,
    Settings,
)
from rmb_peer.remaphore.core.text import lower, to_bytes, to_text, trim

CONFIG_BYTES_MAX = 4 * 1024 * 1024
"""A guess: some 40,000 peers."""

DEFAULT_SUBJECT = "remaphore"
EXAMPLE_SKEW_NS = 5_000_000_000  # what `-C` prints (R19)

_SECRET_CHARS_MIN = 16
"""Words of this length or more are masked where a private key, or a part of one, may stand."""

_BLANKS = re.compile(r"[ \t]+")


class BadConfig(ValueError):
    """The configuration cannot be used; the text says why."""


@dataclass(slots=True)
class _Draft:
    servers: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    default_identity: bytes = b""
    allow_skew_ns: int = 0
    identities: list[Identity] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def parse(raw: bytes) -> tuple[Settings, list[str]]:
    """Read a configuration.

    Args:
        raw: the whole file.

    Returns:
        the settings, and sentences about what is probably not meant (W23, W24 and the traps of section 9).

    Raises:
        BadConfig: the first error, in the order of section 9.
    """
    if len(raw) > CONFIG_BYTES_MAX:
        raise BadConfig(f"the configuration is larger than {CONFIG_BYTES_MAX} bytes")
    draft = _Draft()
    read: Callable[[_Draft, str, int], None] = _general_line
    for number, line in enumerate(to_text(raw).removeprefix("\ufeff").split("\n"), 1):
        line = trim(trim(line).partition("#")[0])
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            read = _section(draft, read, line, number)
        else:
            read(draft, line, number)
    settings = _finish(draft)
    return settings, draft.warnings + _doubts(settings)


def _section(
    draft: _Draft, current: Callable[[_Draft, str, int], None], line: str, number: int
) -> Callable[[_Draft, str, int], None]:
    name = lower(trim(line[1:-1]))
    if name == "identities":
        return _identity_line
    if name == "peers":
        return _peer_line
    shown = _masked(name)
    if current is not _general_line:
        raise BadConfig(f"unknown section [ {shown} ] in line {number}: only Identities and Peers are known")
    draft.warnings.append(f"line {number}: unknown section [ {shown} ]; the lines below it count as general settings")
    return current


def _general_line(draft: _Draft, line: str, number: int) -> None:
    key, colon, value = line.partition(":")
    key, value = lower(trim(key)), trim(value)
    if not colon or not key or not value:
        draft.warnings.append(f"line {number}: ignored, because it is not of the form `key: value`")
    elif key == "server":
        draft.servers.append(value)
    elif key == "default_identity":
        draft.default_identity = base58.decode(to_bytes(value), PUBLIC_CHARS_MAX)
        if len(draft.default_identity) != PUBLIC_BYTES:
            raise BadConfig(f"invalid public key: {_masked(value)}")
    elif key == "allow_skew":
        try:
            draft.allow_skew_ns = durations.parse(value)
        except durations.BadDuration as error:
            raise BadConfig(str(error)) from None
    elif key in ("credentials", "subject", "destination"):
        draft.values[key] = value
    else:
        draft.warnings.append(f"line {number}: unknown key {_masked(key)!r}, ignored")


def _identity_line(draft: _Draft, line: str, number: int) -> None:
    fields = _BLANKS.split(line, maxsplit=2)
    if len(fields) < 3:
        if len(fields) == 2 and len(fields[1]) >= _SECRET_CHARS_MIN:
            raise BadConfig("not valid permissions: ")
        raise BadConfig(f'bad format: "{_masked(line)}"')
    public = base58.decode(to_bytes(fields[0]), PUBLIC_CHARS_MAX)
    if len(public) != PUBLIC_BYTES:
        raise BadConfig(f'bad public key: "{_masked(fields[0])}"')
    private = base58.decode(to_bytes(fields[1]), PRIVATE_CHARS_MAX)
    if len(private) != PRIVATE_BYTES:
        raise BadConfig(f"bad private key: the second word of line {number}")
    verbs = _verbs(fields[2])
    derived = bytes(SigningKey(private[:PUBLIC_BYTES]).verify_key)
    draft.identities.append(Identity(public, private, verbs, consistent=derived == public == private[PUBLIC_BYTES:]))


def _peer_line(draft: _Draft, line: str, number: int) -> None:
    fields = _BLANKS.split(line, maxsplit=2)
    if len(fields) < 3:
        raise BadConfig(f'bad format: "{_masked(line, PUBLIC_CHARS_MAX + 1)}"')
    public = base58.decode(to_bytes(fields[1]), PUBLIC_CHARS_MAX)
    if len(public) != PUBLIC_BYTES:
        raise BadConfig(f'bad public key: "{_masked(fields[0], PUBLIC_CHARS_MAX + 1)}"')
    draft.peers.append(Peer(to_bytes(fields[0]), public, _verbs(fields[2])))


def _verbs(text: str) -> tuple[bytes, ...]:
    if not (len(text) > 1 and text.startswith("[") and text.endswith("]")):
        raise BadConfig(f"not valid permissions: {_masked(text)}")
    return tuple(to_bytes(verb) for verb in split_list(lower(text[1:-1])))


def split_list(text: str) -> list[str]:
    """A comma-separated list: entries trimmed, empty ones dropped; inner blanks stay (sections 9 and 10)."""
    return [entry for entry in map(trim, text.split(",")) if entry]


def _masked(text: str, chars_min: int = _SECRET_CHARS_MIN) -> str:
    """Without words that are long enough to be what must not be shown, and without control characters."""
    shown = "".join(character if character.isprintable() or character == "\t" else "?" for character in text)
    return re.sub(rf"[^ \t]{{{chars_min},}}", "***", shown)


def _finish(draft: _Draft) -> Settings:
    for present, name in (
        (draft.servers, "nats servers"),
        (draft.values.get("credentials"), "nats credentials"),
        (draft.identities, "identities"),
        (draft.values.get("destination"), "destination"),
    ):
        if not present:
            raise BadConfig(f"no {name} configured")
    return Settings(
        servers=tuple(draft.servers),
        credentials=draft.values["credentials"],
        subject=draft.values.get("subject", DEFAULT_SUBJECT),
        default_identity=draft.default_identity or draft.identities[0].public,
        destination=to_bytes(draft.values["destination"]),
        allow_skew_ns=draft.allow_skew_ns or clock.DEFAULT_SKEW_NS,
        identities=tuple(draft.identities),
        peers=tuple(draft.peers),
    )


def _doubts(settings: Settings) -> list[str]:
    doubts = []
    if settings.identity(settings.default_identity) is None:
        doubts.append("default_identity is not among the identities: nothing can be signed with it")
    if settings.allow_skew_ns < 0:
        doubts.append("allow_skew is negative: nothing will ever be received")
    if b"*" in settings.destination:
        doubts.append("the own destination contains `*`: no message will ever be addressed to it")
    for kind, keys in (
        ("identity", [identity.public for identity in settings.identities]),
        ("peer", [peer.public for peer in settings.peers]),
    ):
        twice = (
            sorted({base58.encode(key) for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
        )
        doubts += [f"{kind} {key} is listed twice: only the verbs of its first line count" for key in twice]
    doubts += [
        f"identity {base58.encode(identity.public)}: its private key belongs to another public key; it is not used"
        for identity in settings.identities
        if not identity.consistent
    ]
    return doubts


def show(settings: Settings) -> str:
    """The text that `parse` reads back, without the last line feed (section 9)."""
    lines = [f"server: {server}" for server in settings.servers]
    lines += [
        f"credentials: {settings.credentials}",
        f"subject: {settings.subject}",
        f"default_identity: {base58.encode(settings.default_identity)}",
        f"destination: {to_text(settings.destination)}",
        f"allow_skew: {durations.show(settings.allow_skew_ns)}",
        "",
        "[ Identities ]",
        *(identity_line(identity) for identity in settings.identities),
        "",
        "[ Peers ]",
        *(peer_line(peer) for peer in settings.peers),
    ]
    return "\n".join(lines)


def identity_line(identity: Identity) -> str:
    """A line for `[ Identities ]`; it holds the private key."""
    return f"{base58.encode(identity.public)} {base58.encode(identity.private)} {_show_verbs(identity.verbs)}"


def peer_line(peer: Peer) -> str:
    """A line for `[ Peers ]`."""
    return f"{to_text(peer.destination)} {base58.encode(peer.public)} {_show_verbs(peer.verbs)}"


def _show_verbs(verbs: tuple[bytes, ...]) -> str:
    return f"[{', '.join(map(to_text, verbs))}]"


def new_identity(seed: bytes, verbs: tuple[bytes, ...]) -> Identity:
    """The key pair of a 32-byte random seed."""
    public = bytes(SigningKey(seed).verify_key)
    return Identity(public, seed + public, verbs)


def example(seed: bytes) -> Settings:
    """What `-C` prints, with a key pair of its own."""
    identity = new_identity(seed, (b"ping",))
    return Settings(
        servers=("nats://natsserver:4222",),
        credentials="/path/to/credentials/file",
        subject=DEFAULT_SUBJECT,
        default_identity=identity.public,
        destination=b"all",
        allow_skew_ns=EXAMPLE_SKEW_NS,
        identities=(identity,),
        peers=(),
    )
