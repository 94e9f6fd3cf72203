"""Twins from a file, for fixed or air-gapped sites. Changed by people with an editor, never by us.

TOML:

    [[twins]]
    id = 1
    account = "5EWp…"                  # SS58, or 64 hex digits
    relays = ["relay.example:8080"]
    pk = "02…"                         # 66 hex digits; leave out for plain payloads

JSON: `{"twins": [{"id": 1, …}]}`. The file is read again when it changes; an edit that cannot be read leaves the last
good content in place and is logged.
"""

import asyncio
import logging
import time
import tomllib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.encryption import PUBLIC_KEY_BYTES
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_set
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.ss58 import decode_account, encode_account
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable

FILE_BYTES_MAX = 64 * 1024 * 1024
"""About 300,000 twins."""

CHECK_S = 1.0
"""How often, at most, the file is looked at."""

_NOT_THERE = (0, 0, 0)
_FIELDS = ("id", "account", "relays", "pk")
_LOG = get_logger("registry")


@dataclass(frozen=True, slots=True)
class _Content:
    by_id: dict[int, Twin]
    by_account: dict[bytes, Twin]


class FileRegistry:
    """The twins of a TOML file, or of a JSON file when its name ends in `.json`."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        check_s: float = CHECK_S,
        bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        """Nothing is read before the first use."""
        self._path = path
        self._clock = clock
        self._check_s = check_s
        self._bytes_max = bytes_max
        self._content: _Content | None = None
        self._problem = ""
        self._seen: tuple[int, int, int] | None = None
        self._check_at = 0.0
        self._lock = asyncio.Lock()

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when the file has none.

        Raises:
            RegistryUnavailable: the file has never been readable since the start.
        """
        return (await self._current()).by_id.get(twin_id)

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when the file has none.

        Raises:
            RegistryUnavailable: the file has never been readable since the start.
        """
        return (await self._current()).by_account.get(account)

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """The twin of the signer's account, if the file already says this.

        Raises:
            RegistryUnavailable: the file has never been readable since the start.
            RegistryRefused: it says something else; the text holds the entry to write.
        """
        content = await self._current()
        twin = content.by_account.get(signer.account)
        if twin is not None and (twin.relays, twin.public_key) == (relays, public_key):
            return twin
        wanted = Twin(twin.id if twin else max(content.by_id, default=0) + 1, signer.account, relays, public_key)
        what = f"change the entry of twin {wanted.id} in" if twin else "add this entry to"
        raise RegistryRefused(f"{what} {self._path}:\n{self._entry(wanted)}")

    async def watch(self) -> AsyncIterator[Twin]:
        """Entries that are new or different after an edit; never ends by itself."""
        known: dict[int, Twin] | None = None
        while True:
            try:
                now = (await self._current()).by_id
            except RegistryUnavailable:
                now = {}  # said by whoever looks a twin up
            if known is not None and now is not known:
                for twin in now.values():
                    if known.get(twin.id) != twin:
                        yield twin
            known = now
            await asyncio.sleep(self._check_s)

    async def close(self) -> None:
        """Nothing to release."""

    async def _current(self) -> _Content:
        if self._content is not None and self._lock.locked():
            return self._content  # while somebody reads the new file, the others do not wait
        async with self._lock:
            if self._clock() >= self._check_at or self._seen is None:
                self._check_at = self._clock() + self._check_s
                await self._check()
        if self._content is None:
            raise RegistryUnavailable(self._problem)
        return self._content

    async def _check(self) -> None:
        seen, problem = _NOT_THERE, ""
        try:
            state = self._path.stat()
            seen = (state.st_ino, state.st_mtime_ns, state.st_size)
            if seen == self._seen:
                return
            content = self._content = await asyncio.to_thread(_load, self._path, self._bytes_max)
            event(_LOG, logging.INFO, "registry file read", file=str(self._path), twins=len(content.by_id))
        except OSError as error:
            problem = f"the registry file {self._path} cannot be read: {error.strerror or error}"
        except BadRequest as error:
            problem = f"the registry file {self._path} is not used: {error}"
        if problem and (seen, problem) != (self._seen, self._problem):
            then = "the last good content stays" if self._content else "there is no content yet"
            event(_LOG, logging.ERROR, "registry file refused", reason=problem, then=then)
        self._seen, self._problem = seen, problem

    def _entry(self, twin: Twin) -> str:
        """The entry in the file's own language."""
        fields: dict[str, Any] = {"id": twin.id, "account": encode_account(twin.account), "relays": sorted(twin.relays)}
        if twin.public_key is not None:
            fields["pk"] = twin.public_key.hex()
        if _is_json(self._path):
            return orjson.dumps(fields).decode()
        # Numbers, plain texts and lists of them are written alike in JSON and TOML.
        return "\n".join(["[[twins]]", *(f"{name} = {orjson.dumps(value).decode()}" for name, value in fields.items())])


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _load(path: Path, bytes_max: int) -> _Content:
    with path.open("rb") as file:
        raw = file.read(bytes_max + 1)
    if len(raw) > bytes_max:
        raise BadRequest(f"it has more than {bytes_max} bytes: use a hosted registry for so many twins")
    try:
        document = orjson.loads(raw) if _is_json(path) else tomllib.loads(raw.decode())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        raise BadRequest(f"line {line}: not UTF-8") from None
    except ValueError as error:  # tomllib's own error, and those of numbers and dates that Python cannot hold
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("it is nested too deeply") from None
    return _read(document)


def _read(document: Any) -> _Content:
    entries = document.get("twins") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadRequest("it must hold a list `twins` ([[twins]] in TOML)")
    content = _Content({}, {})
    for number, entry in enumerate(entries, 1):
        try:
            twin = _read_entry(entry)
        except (BadRequest, ValueError) as error:
            raise BadRequest(f"entry {number}: {error}") from None
        other = content.by_id.get(twin.id) or content.by_account.get(twin.account)
        if other is not None:
            what = "id" if other.id == twin.id else "account"
            raise BadRequest(f"entry {number}: the {what} of twin {other.id} is there twice")
        content.by_id[twin.id] = twin
        content.by_account[twin.account] = twin
    return content


def _read_entry(entry: Any) -> Twin:
    if not isinstance(entry, dict):
        raise BadRequest("it must be a table with `id`, `account`, `relays` and `pk`")
    unknown = sorted(set(entry) - set(_FIELDS))
    if unknown:
        raise BadRequest(f"unknown field {unknown[0][:40]!r}: there are {', '.join(_FIELDS)}")
    twin_id, account, relays, key = (entry.get(name) for name in _FIELDS)
    if type(twin_id) is not int or not 1 <= twin_id <= TWIN_ID_MAX:
        raise BadRequest(f"`id` must be a number from 1 to {TWIN_ID_MAX}")
    if not isinstance(account, str):
        raise BadRequest("`account` must be SS58 text such as 5EWp…, or 64 hex digits")
    if not isinstance(relays, list) or not all(isinstance(relay, str) for relay in relays):
        raise BadRequest("`relays` must be a list of texts")
    return Twin(twin_id, decode_account(account), relay_set(relays), None if key is None else _key(key))


def _key(text: Any) -> bytes:
    try:
        key = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        key = b""
    if len(key) != PUBLIC_KEY_BYTES or len(text) != 2 * PUBLIC_KEY_BYTES:
        raise BadRequest(f"`pk` must be {2 * PUBLIC_KEY_BYTES} hex digits")
    return key
