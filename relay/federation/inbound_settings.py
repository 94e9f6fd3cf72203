"""What the operator decides about posts of other relays, and the flags for it. It refuses to know how it is used."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.federation.listed import Listed, parse_listed
from rmb_peer.protocol.errors import BadRequest

POSTS_PER_MINUTE = 30_000
"""Posts of one relay: 500 a second for ever, or a backlog of 30,000 at once. A guess, several times what the existing
network carries together."""


@dataclass(frozen=True, slots=True)
class InboundSettings:
    """Who may post here, and as whom we post elsewhere.

    Attributes:
        open_to_all: relays that do not sign may post, too.
        listed: relays that need not sign.
        posts_per_minute: of one relay, or of one address that does not say which relay it is.
        key_file: holds the secret key of this relay; `None` for one in the store.
    """

    open_to_all: bool = False
    listed: tuple[Listed, ...] = ()
    posts_per_minute: int = POSTS_PER_MINUTE
    key_file: Path | None = None

    def shown(self, name: str) -> dict[str, Any]:
        """What `/.well-known/rmb` tells relays that want to post here.

        Args:
            name: under which this relay posts to others.
        """
        from relay.federation.signature import CLOCK_S_MAX  # with its libraries only where there are posts

        unsigned = "accepted" if self.open_to_all else "listed" if self.listed else "refused"
        return {
            "name": name,
            "unsigned": unsigned,
            "link": True,
            "clock_s_max": CLOCK_S_MAX,
            "rate": {"count": self.posts_per_minute, "window_s": 60},
        }


def add_inbound_flags(parser: argparse.ArgumentParser) -> None:
    """The flags about relays that post here."""
    add = parser.add_argument_group("relays that post here").add_argument
    add(
        "--federation-open",
        action="store_true",
        help="take messages from relays that do not sign what they post, whoever they are",
    )
    add(
        "--federation-from",
        action="extend",
        nargs="+",
        type=_listed,
        metavar="NAME[=NETWORK]",
        help="take messages from this relay although it does not sign: when they come from the addresses that DNS has "
        "for it, or from the networks that are given, separated by commas; repeatable",
    )
    add(
        "--federation-rate",
        type=_positive,
        default=POSTS_PER_MINUTE,
        metavar="COUNT",
        help="most messages that one relay may post per minute (default: %(default)s)",
    )
    add(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="the key by which other relays recognise this one, as `rmb-peer keys new --out FILE` writes it; only its "
        "owner may be able to read it (default: a key in the store)",
    )


def inbound_settings(flags: argparse.Namespace) -> InboundSettings:
    """The settings that the flags ask for."""
    return InboundSettings(
        open_to_all=flags.federation_open,
        listed=tuple(dict.fromkeys(flags.federation_from or ())),
        posts_per_minute=flags.federation_rate,
        key_file=flags.key_file,
    )


def _listed(text: str) -> Listed:
    try:
        return parse_listed(text)
    except (BadRequest, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no whole number from 1 to 999999999")
    return int(text)
