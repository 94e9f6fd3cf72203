"""The contract of a registry of twins, and how it fails. It refuses to know any backend."""

from collections.abc import AsyncIterator
from typing import Protocol

from rmb_peer.protocol.errors import OtherError
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin


class RegistryUnavailable(OtherError):
    """The registry did not answer, or not with anything usable. Trying again later may help."""


class RegistryRefused(OtherError):
    """The registry answered no. Trying the same again will not help; the text says what would."""


class Registry(Protocol):
    """Where twins are looked up and announced.

    Implementations are safe to call from many tasks at once, and a slow look-up of one twin does not delay another.
    """

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when there is none.

        Raises:
            RegistryUnavailable: no answer.
        """
        ...

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of a 32-byte account id; `None` when there is none.

        Raises:
            RegistryUnavailable: no answer.
        """
        ...

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this, creating it when needed; an equal record is left alone.

        Args:
            signer: key of the twin.
            relays: names as `names.normalize_relay` writes them.
            public_key: 33 bytes, or `None` to receive plain payloads.

        Returns:
            the record as it now stands.

        Raises:
            RegistryUnavailable: no answer.
            RegistryRefused: the registry does not accept it.
        """
        ...

    def watch(self) -> AsyncIterator[Twin]:
        """Records that changed, as far as the backend hears of changes; never ends by itself."""
        ...

    async def close(self) -> None:
        """Release connections. Closing twice is harmless."""
        ...
