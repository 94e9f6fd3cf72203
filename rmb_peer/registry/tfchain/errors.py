"""How the chain fails, in two families: reads and writes that found no usable node, and writes that the chain refused.

The first may help itself when tried again, the second will not; each text says what to do. This module refuses to know
how failures are noticed.
"""

from collections.abc import Sequence

from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable
from rmb_peer.registry.tfchain.urls import shown_url


class NodeFailed(Exception):
    """One node is of no use at the moment: unreachable, too slow, gone, talking nonsense. Another may be better."""


class NodeOfWrongChain(NodeFailed):
    """The node answers, but for a chain that holds no twins as we know them, or for another chain than its peers."""


class NodeRefused(Exception):
    """A node understood a request and answered with an error (JSON-RPC).

    Attributes:
        code: the error's number; 0 when it had none.
        text: the node's own words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (code {code})")
        self.code = code
        self.text = text


class ChainUnavailable(RegistryUnavailable):
    """No node of the list could be used."""


class WrongChain(ChainUnavailable):
    """All nodes answer, and none of them serves tfchain. Waiting does not help: the URLs have to be changed."""


class OutcomeUnknown(ChainUnavailable):
    """A transaction was sent, and nobody could be asked how it ended."""


class NoAccount(RegistryRefused):
    """The account does not exist on the chain, because it never received anything."""


class NotEnoughBalance(RegistryRefused):
    """The account cannot pay the fee."""


class TermsNotAccepted(RegistryRefused):
    """The account has not accepted any terms and conditions, so the chain gives it no twin."""


class RelayTextRefused(RegistryRefused):
    """The chain does not take this text as relays of a twin."""


class TwinOfAnotherAccount(RegistryRefused):
    """The twin belongs to another account than the one that signs."""


class NoTwinToUpdate(RegistryRefused):
    """The account has no twin yet."""


class TwinExists(RegistryRefused):
    """The account has a twin already."""


class TransactionRefused(RegistryRefused):
    """The chain refused a transaction for another reason; the text holds its words."""


def unavailable(failures: Sequence[tuple[str, NodeFailed]]) -> ChainUnavailable:
    """One error out of what each node said.

    Args:
        failures: URL and last failure of each node that was tried.
    """
    reasons = "; ".join(f"{shown_url(url)}: {failure}" for url, failure in failures)
    if failures and all(isinstance(failure, NodeOfWrongChain) for _, failure in failures):
        return WrongChain(f"this is not tfchain ({reasons}): check --substrate")
    return ChainUnavailable(
        f"no node of the chain can be used ({reasons}): check the network and --substrate, or name further nodes"
    )
