"""The relay's certificate and key: from PEM files to what new connections are encrypted with, now and after a change.

A file that cannot be used when it changes leaves the old certificate in use. This module refuses to know who connects.
"""

import ssl
from pathlib import Path

from rmb_peer.protocol.errors import LocalError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325, 4.2). Those of TLS 1.3 are all good."""


class CertificateBad(LocalError):
    """Certificate or key cannot be used; the text says what to change."""


class Certificates:
    """What the files hold.

    Attributes:
        context: for new connections; another one after each change.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        """Read the files.

        Args:
            certificate: PEM, the relay's own first, then those that vouch for it.
            key: PEM; `None` when the same file holds it.

        Raises:
            CertificateBad: they cannot be used.
        """
        self._certificate = certificate
        self._key = key
        self.context = self._read()

    @property
    def files(self) -> tuple[Path, ...]:
        """What to look at for changes."""
        return (self._certificate,) if self._key is None else (self._certificate, self._key)

    def reload(self) -> None:
        """Read the files again, for new connections.

        Raises:
            CertificateBad: they cannot be used; the old ones stay in use.
        """
        self.context = self._read()

    def _read(self) -> ssl.SSLContext:
        for path in self.files:
            try:
                path.open("rb").close()
            except OSError as error:
                raise CertificateBad(f"cannot read {path}: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        try:
            context.load_cert_chain(self._certificate, self._key, password=self._no_password)
        except ssl.SSLError as error:
            raise CertificateBad(self._what_is_wrong(error)) from None
        return context

    def _no_password(self) -> str:
        raise CertificateBad(
            f"the key in {self._key or self._certificate} is encrypted: nobody is there to type a password; store it "
            "without one, readable by the relay alone"
        )

    def _what_is_wrong(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            key = self._key or self._certificate
            return f"the key in {key} is not that of the first certificate in {self._certificate}"
        where = f"{self._certificate} and {self._key}" if self._key else f"{self._certificate} (without --tls-key)"
        hint = "expected certificate and private key in PEM form, with -----BEGIN ... lines"
        return f"cannot use {where}: {hint} ({error.reason or error})"
