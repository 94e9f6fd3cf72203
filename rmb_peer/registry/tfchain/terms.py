"""The network's terms and conditions, as an account accepts them: a link and a hash. Pure.

The chain compares them with nothing (spec tfchain 6), so nobody but the user can say what was read and accepted.
"""

import re
from dataclasses import dataclass

from rmb_peer.protocol.errors import BadRequest

LINK_CHARS_MAX, DIGEST_CHARS_MAX = 2048, 50
"""Longer ones cannot be decoded by the chain (spec tfchain 2, 3)."""

_LINK = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]+")
_DIGEST = re.compile(r"[A-Za-z0-9\-_]+")


@dataclass(frozen=True, slots=True)
class Terms:
    """A document that was accepted.

    Attributes:
        link: where it is.
        digest: a hash of it, as the user computed it.
    """

    link: str
    digest: str

    def check(self) -> "Terms":
        """Return this value if the chain can store it.

        Raises:
            BadRequest: says what is wrong.
        """
        if not _LINK.fullmatch(self.link) or len(self.link) > LINK_CHARS_MAX:
            raise BadRequest(f"the link to the terms must be a URL of at most {LINK_CHARS_MAX} characters, without %")
        if not _DIGEST.fullmatch(self.digest) or len(self.digest) > DIGEST_CHARS_MAX:
            raise BadRequest(
                f"the hash of the terms must have at most {DIGEST_CHARS_MAX} letters, digits, - or _ (md5sum gives 32)"
            )
        return self
