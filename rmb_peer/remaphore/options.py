"""The flags of all commands (spec remaphore 10), and what they mean together. Knows no network."""

from collections.abc import Sequence
from dataclasses import dataclass

from rmb_peer.remaphore.config_file import DEFAULT_PATH
from rmb_peer.remaphore.core import base58, durations
from rmb_peer.remaphore.core.command_line import Flag, Parsed
from rmb_peer.remaphore.core.configuration import split_list
from rmb_peer.remaphore.core.envelopes import Draft
from rmb_peer.remaphore.core.filters import Filter
from rmb_peer.remaphore.core.rendezvous import from_name
from rmb_peer.remaphore.core.settings import PUBLIC_BYTES, PUBLIC_CHARS_MAX, Settings
from rmb_peer.remaphore.core.text import to_bytes

DEFAULT_VERB = "ping"
DEFAULT_DESTINATION = "**"
DEFAULT_LEASE_NS = 30 * durations.NS_PER_S

_CONFIG = Flag("c", "string", "Path to config file", DEFAULT_PATH)
_SUBJECT = Flag("S", "string", "Subject to communicate on")
_TIMEOUT = Flag("t", "duration", "Timeout for operation")
_RETENTION = Flag("retention", "duration", "With --durable: how long messages are kept, or how far to look back")
_NAME = Flag("u", "string", "UUID to send/filter for")
_DESTINATION = Flag("D", "string", "Specify destination to match")
_ANY_DESTINATION = Flag("d", "switch", "Do not match for destination")

MAIN: Sequence[Flag] = (
    Flag("C", "switch", "Print example config file"),
    _CONFIG,
    _SUBJECT,
    Flag("v", "string", "-v <verb>[,verb...]: Verb to send or match filter for"),
    Flag("o", "switch", "Exit after one matching message received"),
    _NAME,
    _TIMEOUT,
    Flag("r", "switch", "Request reply to message"),
    Flag("s", "switch", "Send and forget"),
    Flag("p", "string", "Use public key for sending or match for it"),
    _ANY_DESTINATION,
    _DESTINATION,
    Flag("durable", "switch", "Keep the message for late receivers, or look for kept ones (needs JetStream)"),
    _RETENTION,
)

WAIT: Sequence[Flag] = (
    _CONFIG,
    _SUBJECT,
    _TIMEOUT,
    _RETENTION,
    _NAME,
    _DESTINATION,
    _ANY_DESTINATION,
    Flag("v", "string", "-v <verb>[,verb...]: Verb that counts; empty means any"),
    Flag("count", "string", "How many peers must have sent: a number, all, or any", "all"),
    Flag("of", "whole", "How many peers there must be; fails if the configuration knows more or fewer"),
    Flag("peers", "string", "Which peers count, as a destination pattern", DEFAULT_DESTINATION),
)

LOCK: Sequence[Flag] = (
    _CONFIG,
    Flag("t", "duration", "How long to wait for the lock"),
    Flag("lease", "duration", "How soon the lock of a dead holder is free again", DEFAULT_LEASE_NS),
)

KEYS: Sequence[Flag] = (
    Flag("D", "string", "Destination of the new node, for the line that others need", "all"),
    Flag("v", "string", "-v <verb>[,verb...]: Verbs of the new identity", DEFAULT_VERB),
)

CHECK: Sequence[Flag] = (
    _CONFIG,
    _TIMEOUT,
    Flag("D", "string", "Compare clocks by an ordinary ping to these peers, which may run their commands"),
)


class BadOptions(ValueError):
    """Flags that do not go together; exit code 2."""


@dataclass(frozen=True, slots=True)
class Main:
    """The command without a subcommand."""

    flags: Parsed
    signer: bytes
    verbs: tuple[bytes, ...]

    @property
    def sends(self) -> bool:
        """Whether it is `-s` or `-r`."""
        return self.flags.on("s") or self.flags.on("r")

    @property
    def retention_ns(self) -> int | None:
        """`None` without `--durable`; 0 for the default."""
        return self.flags.number("retention") if self.flags.on("durable") else None

    def draft(self, random_uuid: bytes) -> Draft:
        """What `-s` and `-r` send."""
        flags = self.flags
        name = to_bytes(flags.text("u"))
        return Draft(
            destination=to_bytes(flags.text("D") or DEFAULT_DESTINATION),
            verb=self.verbs[0] if self.verbs else DEFAULT_VERB.encode(),
            payload=to_bytes(" ".join(flags.arguments)),
            wants_reply=flags.on("r"),
            uuid=from_name(name) if name else random_uuid,
            signer=self.signer or None,
        )

    def filter(self, settings: Settings) -> Filter:
        """What a receiver takes."""
        return _filter(self.flags, settings, self.verbs, self.signer)


def main_options(flags: Parsed) -> Main:
    """The meaning of the flags, checked in the order of section 10.

    Raises:
        BadOptions: they do not go together.
    """
    if flags.on("r") and flags.on("s"):
        raise BadOptions("-r and -s are mutually exclusive")
    check_destination_flags(flags)
    signer = b""
    if flags.text("p"):
        signer = base58.decode(to_bytes(flags.text("p")), PUBLIC_CHARS_MAX)
        if len(signer) != PUBLIC_BYTES:
            raise BadOptions("ERROR: Given public key does not parse")
    options = Main(flags, signer, verb_list(flags.text("v")))
    if flags.on("durable") and not options.sends and not flags.text("u") and not options.verbs:
        raise BadOptions("--durable needs -u or -v when receiving: otherwise everything that is kept would be handled")
    if flags.number("retention") and not flags.on("durable"):
        raise BadOptions("--retention needs --durable")
    check_retention(flags)
    return options


def check_destination_flags(flags: Parsed) -> None:
    """`-d` and `-D` exclude each other.

    Raises:
        BadOptions: both are given.
    """
    if flags.on("d") and flags.text("D"):
        raise BadOptions("-d and -D are mutually exclusive")


def check_retention(flags: Parsed) -> None:
    """A retention is nothing or at least a second.

    Raises:
        BadOptions: it is not.
    """
    if "retention" in flags.given and flags.number("retention") < durations.NS_PER_S:
        raise BadOptions("--retention must be at least 1s")


def verb_list(text: str) -> tuple[bytes, ...]:
    """The entries of `-v`; case is kept."""
    return tuple(map(to_bytes, split_list(text)))


def wait_filter(flags: Parsed, settings: Settings) -> Filter:
    """What `remaphore wait` counts."""
    return _filter(flags, settings, verb_list(flags.text("v")), b"")


def _filter(flags: Parsed, settings: Settings, verbs: tuple[bytes, ...], sender: bytes) -> Filter:
    name = to_bytes(flags.text("u"))
    return Filter(
        own_name=settings.destination,
        uuid=from_name(name) if name else b"",
        verbs=verbs,
        sender=sender,
        other_name=to_bytes(flags.text("D")),
        any_destination=flags.on("d"),
    )
