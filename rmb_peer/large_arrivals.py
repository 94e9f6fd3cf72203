"""A large envelope that came: its signature and its payload, without holding up others."""

import asyncio

from rmb_peer.protocol.encryption import EncryptionKey
from rmb_peer.protocol.envelope import Envelope
from rmb_peer.protocol.errors import SenderHasNoPublicKey
from rmb_peer.protocol.large_envelope import CIPHER_FIELD, open_large, verify_large
from rmb_peer.protocol.large_fields import Cut
from rmb_peer.protocol.twin import Twin


async def verify_and_open(
    envelope: Envelope, payload: Cut, sender: Twin, encryption: EncryptionKey
) -> memoryview | bytes:
    """Check the signature and decrypt, as `verify_envelope` and `open_payload` do, in a thread.

    Args:
        envelope: without its payload.
        payload: as it was cut out.
        sender: its source.
        encryption: our key.

    Raises:
        InvalidSignature: with the text of spec rmb 2.7.
        SenderHasNoPublicKey: it is encrypted, but the sender publishes no key.
        CannotDecrypt: with the text of spec rmb 3.6.
    """
    await asyncio.to_thread(verify_large, envelope, payload.content, sender.account)
    if payload.number != CIPHER_FIELD:
        return payload.content
    if sender.public_key is None:
        raise SenderHasNoPublicKey
    return await asyncio.to_thread(open_large, payload.content, encryption.cipher_to_open(sender.public_key))
