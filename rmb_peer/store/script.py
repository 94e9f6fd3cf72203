"""Lua scripts as they are called: the words that are the same every time are packed once."""

from collections.abc import Sequence
from hashlib import sha1

from rmb_peer.store.address import Command
from rmb_peer.store.wire import Packed, pack


class Script:
    """One script with its keys and settings.

    Attributes:
        load: the command that makes the store know it.
        words: the beginning of the command that runs it.
    """

    def __init__(self, source: bytes, key_names: Sequence[str], settings: Sequence[str | int] = ()) -> None:
        """Describe a script.

        Args:
            source: in Lua.
            key_names: KEYS.
            settings: the first of ARGV, the same every time.
        """
        digest = sha1(source, usedforsecurity=False).hexdigest()
        self.load: Command = ("SCRIPT", "LOAD", source)
        self.words: Command = ("EVALSHA", digest, len(key_names), *key_names, *settings)
        ((packed),) = pack(self.words)
        self._beginning = packed.partition(b"\r\n")[2]

    def packed(self, arguments: Command, large: bool = False) -> Packed:
        """The command that runs it.

        Args:
            arguments: the rest of ARGV, at least one.
            large: see `pack`.
        """
        first, *rest = pack(arguments, large)
        own_count_ends = first.index(b"\r\n") + 2
        count = len(self.words) + len(arguments)
        return [b"*%d\r\n%b%b" % (count, self._beginning, first[own_count_ends:]), *rest]


class KeyedScript:
    """One script that is called with other keys every time.

    Attributes:
        source: in Lua.
        load: the command that makes the store know it.
    """

    def __init__(self, source: str) -> None:
        """Describe a script.

        Args:
            source: in Lua.
        """
        self.source = source
        self.load: Command = ("SCRIPT", "LOAD", source)
        self._digest = sha1(source.encode(), usedforsecurity=False).hexdigest()

    def packed(self, keys: Command, arguments: Command, large: bool = False) -> Packed:
        """The command that runs it.

        Args:
            keys: KEYS.
            arguments: ARGV.
            large: see `pack`.
        """
        return pack(("EVALSHA", self._digest, len(keys), *keys, *arguments), large)
