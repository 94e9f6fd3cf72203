"""A NATS credentials file: a user's token and the seed that signs for it, in armoured blocks (spec remaphore 17).

Written here because the client library reads for ever in a file that has no such block.
"""

import re
from dataclasses import dataclass, field

CREDENTIALS_BYTES_MAX = 1024 * 1024
"""A guess; a token with many permissions is some kilobytes."""

_BLOCK = r"-----BEGIN {0}-----\s+(\S+)\s+-{{3,}}END {0}-{{3,}}"
_JWT = re.compile(_BLOCK.format("NATS USER JWT"))
_SEED = re.compile(_BLOCK.format("USER NKEY SEED"))


class BadCredentials(ValueError):
    """The file holds no login; the text never holds a part of it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server with operator mode asks for."""

    jwt: str
    seed: str = field(repr=False)


def parse(raw: bytes) -> Credentials:
    """Read a credentials file.

    Raises:
        BadCredentials: a block is missing, or the file is too large.
    """
    if len(raw) > CREDENTIALS_BYTES_MAX:
        raise BadCredentials(f"larger than {CREDENTIALS_BYTES_MAX} bytes")
    text = raw.decode("utf-8", "replace")
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None:
        raise BadCredentials("no block `NATS USER JWT`")
    if seed is None:
        raise BadCredentials("no block `USER NKEY SEED`")
    return Credentials(jwt.group(1), seed.group(1))
