"""Large values in and out of the store, so that neither it nor its other clients wait long for one.

The store does one thing at a time. A value of 22 MB as one argument holds it up for 90 to 160 ms: it is copied into the
script, the list and the append-only file. Here a value is written in pieces into a string, which becomes a list by one
copy (`parcel.lua`); from there a script moves it by its name. The connection is its own: on another one everybody's
commands would wait behind the value. It refuses to know where a value goes.
"""

from collections.abc import Callable
from importlib.resources import files

from redis import exceptions

from rmb_peer.local import keys
from rmb_peer.store.address import Command, StoreAddress
from rmb_peer.store.client import StoreClient
from rmb_peer.store.script import Script
from rmb_peer.store.wire import pack

LARGE_BYTES = 1024 * 1024
"""A value from this size on goes this way. A guess: a smaller one holds the store up for some milliseconds at most."""

PIECE_BYTES = 1024 * 1024
"""Written at a time; takes the store half a millisecond."""

PARCEL_S = 600
"""How long is kept what nobody fetched, because its gateway was killed. A guess: far above a slow disk's pauses."""

GONE = "NOPARCEL"
"""First word of the errors about a parcel that is there no more: a store may throw away what has an expiry."""


class LargeValues:
    """See the module. Every method is one attempt."""

    def __init__(self, address: StoreAddress, *, answer_s_max: float, random_bytes: Callable[[int], bytes]) -> None:
        """Nothing is connected yet.

        Args:
            address: where the store is.
            answer_s_max: longest wait for an answer.
            random_bytes: source of names.
        """
        self._store = StoreClient(address, answer_s_max=answer_s_max)
        self._random_bytes = random_bytes
        self._in_pieces = True

    async def fetch(self, name: str) -> bytes | None:
        """The entry of a list that has one; `None` when there is no such list.

        Raises:
            exceptions.RedisError: the store does not answer, or refuses.
        """
        try:
            value = await self._store.call(("LINDEX", name, 0))
        except exceptions.ResponseError as error:
            if str(error).startswith("WRONGTYPE"):  # somebody else's, in the place of ours
                return None
            raise
        return value if isinstance(value, bytes) else None

    async def put(self, value: bytes) -> str:
        """Make a list of this one value that is forgotten after a while.

        Returns:
            its name.

        Raises:
            exceptions.RedisError: the store does not answer, or refuses.
        """
        mark = self._random_bytes(16).hex()
        name = keys.PARCEL_PREFIX + mark
        if self._in_pieces:
            self._in_pieces = await self._put_in_pieces(value, mark, name)
        if not self._in_pieces:
            await self._all_or_nothing(("RPUSH", name, value), ("EXPIRE", name, PARCEL_S))
        return name

    async def _put_in_pieces(self, value: bytes, mark: str, name: str) -> bool:
        """Whether this store lets us."""
        text = keys.PARCEL_TEXT_PREFIX + mark
        view = memoryview(value)
        last = (len(value) - 1) // PIECE_BYTES * PIECE_BYTES
        # The last piece first: it makes the string as long as it gets, so that no other makes it grow, and one that is
        # written after the string was thrown away is noticed by its length.
        await self._all_or_nothing(("SETRANGE", text, last, bytes(view[last:])), ("EXPIRE", text, PARCEL_S))
        for start in range(0, last, PIECE_BYTES):
            piece = bytes(view[start : start + PIECE_BYTES])
            length = await self._store.call(("SETRANGE", text, start, piece), large=True)
            if length != len(value):
                await self._store.call(("UNLINK", text))
                raise exceptions.ResponseError(f"{GONE} what was written is gone")
        script = Script(_PARCEL, (text, keys.PARCEL_NAME_PREFIX + mark, name))
        pattern = keys.PARCEL_TEXT_PREFIX + "*"
        return bool(await self._store.run(script, (mark, pattern, len(value), PARCEL_S)) == 1)

    async def _all_or_nothing(self, *commands: Command) -> None:
        wrapped: list[Command] = [("MULTI",), *commands, ("EXEC",)]
        answers = await self._store.answers_of([pack(command, large=True) for command in wrapped])
        refused = [answer for answer in answers[:-1] if isinstance(answer, exceptions.RedisError)]
        results = answers[-1] if isinstance(answers[-1], list) else [answers[-1]]
        for answer in (*refused, *results):  # the first says why the transaction was given up
            if isinstance(answer, exceptions.RedisError):
                raise answer

    async def close(self) -> None:
        """Release the connection."""
        await self._store.close()


_PARCEL = files("rmb_peer.local").joinpath("parcel.lua").read_bytes()
