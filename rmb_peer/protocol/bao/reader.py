"""Reading and seeking in content that is proven while it is read (spec bao, B4).

Only what lies on the path to the wanted bytes is read and checked. It refuses to know where the bytes are: see `store`.
"""

from rmb_peer.protocol.bao.check import Check, Subtree, children
from rmb_peer.protocol.bao.engines import Engine
from rmb_peer.protocol.bao.errors import Damage, VerificationFailed, WrongArgument, failure
from rmb_peer.protocol.bao.geometry import group_bytes
from rmb_peer.protocol.bao.hashing import subtree_cv
from rmb_peer.protocol.bao.store import Store


class VerifiedReader:
    """Random access to proven content.

    Args:
        store: content and pairs.
        root: trusted hash.
        engine: computes; the fastest one by default.

    Raises:
        WrongArgument: the root hash has a wrong length.
    """

    def __init__(self, store: Store, root: bytes, engine: Engine | None = None) -> None:
        self._check = Check(store, root, engine)
        self._store = store
        self._group_bytes = group_bytes(store.chunk_log)
        self._path = [self._check.whole]
        self._position = 0
        self._size_is_proven = False
        self._failed: VerificationFailed | None = None

    @property
    def size(self) -> int | None:
        """Size of the content, once the last chunk was checked (B3, rule 5)."""
        return self._store.size if self._size_is_proven else None

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, position: int) -> None:
        """Go to a position, which may lie beyond the end. Nothing is read yet.

        Raises:
            WrongArgument: it is negative.
        """
        if position < 0:
            raise WrongArgument("a position must not be negative")
        self._position = position

    def seek_from_end(self, distance: int) -> None:
        """Go to a position relative to the end, which is proven first.

        Args:
            distance: from the end; negative for positions before it.

        Raises:
            HashMismatch: the last chunk, or a pair on the way to it, is wrong.
            Truncated: it is incomplete.
            WrongArgument: the position would be negative.
        """
        self._prove_size()
        self.seek(self._store.size + distance)

    def read(self, length: int) -> bytes:
        """Proven content from the position on; less than asked for at the end only.

        Raises:
            HashMismatch: something needed is wrong. The position stays where it was.
            Truncated: something needed is incomplete.
            WrongArgument: the length is negative.
        """
        if length < 0:
            raise WrongArgument("a length must not be negative")
        if length == 0:
            return b""
        if self._position >= self._store.size:
            self._prove_size()
            return b""
        pieces, position = [], self._position
        end = min(self._position + length, self._store.size)
        while position < end:
            group = position // self._group_bytes
            content = self._group(group)
            piece = content[position - group * self._group_bytes : end - group * self._group_bytes]
            pieces.append(piece)
            position += len(piece)
        if self._position + length > self._store.size:
            self._prove_size()  # a read that ends early tells the end
        self._position = position
        return b"".join(pieces)

    def _prove_size(self) -> None:
        if not self._size_is_proven:
            self._group(self._store.groups - 1)

    def _group(self, group: int) -> bytes:
        """Content of one group, after checking everything on the way to it."""
        if self._failed is not None:  # a walk that failed must not be continued (B4)
            raise self._failed
        while not self._path[-1].first <= group < self._path[-1].end:
            self._path.pop()
        while self._path[-1].end - self._path[-1].first > 1:
            pair = self._check.right_pair(self._path[-1])
            if isinstance(pair, Damage):
                raise self._fail(pair)
            left, right = children(self._path[-1], pair)
            self._path.append(left if group < left.end else right)
        return self._leaf(self._path[-1])

    def _leaf(self, leaf: Subtree) -> bytes:
        start, length = self._check.span(leaf)
        content = bytes(self._store.content(start, length))
        first = leaf.first << self._store.chunk_log
        if len(content) < length:
            raise self._fail(Damage("truncated", "leaf", start, length, first))
        if subtree_cv(self._check.engine, content, first, self._check.is_root(leaf)) != leaf.cv:
            raise self._fail(Damage("hash mismatch", "leaf", start, length, first))
        self._size_is_proven |= leaf.end == self._store.groups
        return content

    def _fail(self, damage: Damage) -> VerificationFailed:
        self._failed = failure(damage)
        return self._failed
