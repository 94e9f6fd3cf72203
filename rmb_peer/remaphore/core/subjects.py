"""Names on the NATS side (spec remaphore 7, 17): subjects, servers, and the keys under which messages are kept."""

import hashlib
import re
from urllib.parse import urlsplit

from rmb_peer.remaphore.core.text import quote, trim
from rmb_peer.remaphore.core.wire import Message, message_hash

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEPT_HASH_CHARS = 32  # 128 bits of the hash: nobody finds two messages for one key


class BadSubject(ValueError):
    """NATS would not take this subject; the text is the library's."""


class BadServer(ValueError):
    """A value of `server` is no address."""


def subject(root: str, suffix: str) -> str:
    """Where messages go: `<root>.all`, or `<root>.<suffix>` with `-S`."""
    return f"{root}.{suffix or 'all'}"


def reply_subject(root: str, encoded: bytes) -> str:
    """Where the answers to one request go; `-S` has no part in it."""
    return f"{root}.{message_hash(encoded)}"


def check_subject(name: str, wildcards: bool) -> str:
    """The subject, if NATS takes it.

    Args:
        name: the whole subject.
        wildcards: whether `*` and `>` are allowed, as they are when receiving.

    Raises:
        BadSubject: blanks, control characters, empty tokens, misplaced or unwanted wildcards.
    """
    tokens = name.split(".")
    bad = any(not token or not token.isprintable() or " " in token for token in tokens)
    bad = bad or any(ord(character) in range(0xD800, 0xE000) for character in name)  # no UTF-8
    bad = bad or ">" in tokens[:-1] or (not wildcards and any(token in ("*", ">") for token in tokens))
    if bad:
        raise BadSubject("nats: invalid subject")
    return name


def server_urls(values: tuple[str, ...]) -> list[str]:
    """All servers: the values joined, split at commas, trimmed; scheme and port filled in.

    Raises:
        BadServer: one of them is no address; the text does not hold its password.
    """
    return [_server_url(entry) for entry in map(trim, ",".join(values).split(",")) if entry]


def _server_url(entry: str) -> str:
    url = entry if "://" in entry else f"nats://{entry}"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise BadServer(f"parse {quote(redacted(url))}: {_without_secret(str(error), url)}") from None
    if parts.scheme not in ("nats", "tls", "ws", "wss"):
        raise BadServer(f"parse {quote(redacted(url))}: unknown scheme {quote(parts.scheme)}")
    if not host:
        raise BadServer(f"parse {quote(redacted(url))}: no host")
    if port is None and parts.scheme in ("nats", "tls"):
        return parts._replace(netloc=f"{parts.netloc.rstrip(':')}:4222").geturl()
    return url


def redacted(url: str) -> str:
    """The address without user, password or token."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def _without_secret(text: str, url: str) -> str:
    return "no address" if "@" in url else text


def bucket(root: str, purpose: str) -> str:
    """The name of a key-value bucket for one root subject; different roots never share one."""
    if _BUCKET.fullmatch(root):
        return f"remaphore-{root}-{purpose}"
    plain = re.sub(r"[^A-Za-z0-9]", "_", root)[:32]
    return f"remaphore-{plain}-{hashlib.sha256(root.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}-{purpose}"


def kept_key(on_subject: str, message: Message, encoded: bytes) -> str:
    """Where a message is kept: subject, rendezvous value, its own hash."""
    uuid = hashlib.sha256(message.uuid).hexdigest()[:_KEPT_HASH_CHARS]
    return f"m.{_token(on_subject)}.{uuid}.{message_hash(encoded)[:_KEPT_HASH_CHARS]}"


def kept_filter(on_subject: str, uuid: bytes) -> str:
    """Pattern of the keys that may hold messages for a receiver.

    Args:
        on_subject: what it listens to; with a wildcard, all subjects are looked through.
        uuid: empty when any will do.
    """
    token = "*" if {"*", ">"} & set(on_subject.split(".")) else _token(on_subject)
    return f"m.{token}.{hashlib.sha256(uuid).hexdigest()[:_KEPT_HASH_CHARS] if uuid else '*'}.*"


def claim_key(scope: bytes, encoded: bytes) -> str:
    """Marks that one receiver, known by `scope`, has taken a kept message."""
    return f"c.{hashlib.sha256(scope).hexdigest()[:_KEPT_HASH_CHARS]}.{message_hash(encoded)[:_KEPT_HASH_CHARS]}"


def lock_key(name: str) -> str:
    """The key of a lock: readable where the characters allow it, never shared by two names."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
        return f"n.{name}"
    return f"h.{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _token(on_subject: str) -> str:
    return hashlib.sha256(on_subject.encode()).hexdigest()[:16]
