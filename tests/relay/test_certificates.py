"""Certificate and key: what is accepted, what is told, and what a change does."""

import ssl
from pathlib import Path

import pytest

from relay.certificates import CertificateBad, Certificates
from tests.support.certificates import issue


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A whole handshake in memory; the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    right = server.wrap_bio(to_server, to_client, server_side=True)
    ends = [left, right]
    for _ in range(20):
        for end in tuple(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not ends:
            return left
    raise AssertionError("no end of the handshake")


def anybody(**versions: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = versions.get("most", context.maximum_version)
    return context


def serial(certificates: Certificates) -> bytes:
    """The certificate that a new connection sees."""
    shown = shake_hands(certificates.context, anybody()).getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def test_two_files_and_one(tmp_path: Path) -> None:
    """The key may be in the file of the certificate."""
    certificate, key = issue(10).write(tmp_path)
    assert serial(Certificates(certificate, key)) == issue(10).certificate
    both = tmp_path / "both.pem"
    both.write_bytes(issue(11).key + issue(11).certificate)
    assert serial(Certificates(both)) == issue(11).certificate
    assert Certificates(both).files == (both,)


def test_versions_and_ciphers(tmp_path: Path) -> None:
    """TLS 1.3, or 1.2 with forward secrecy and authenticated encryption; nothing older, no plain RSA or CBC."""
    context = Certificates(*issue(10).write(tmp_path)).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert shake_hands(context, anybody()).version() == "TLSv1.3"
    assert shake_hands(context, anybody(most=ssl.TLSVersion.TLSv1_2)).version() == "TLSv1.2"
    for cipher in context.get_ciphers():
        if cipher["protocol"] != "TLSv1.3":
            assert cipher["name"].startswith("ECDHE-"), cipher
            assert "GCM" in cipher["name"] or "CHACHA20" in cipher["name"], cipher


def test_a_renewed_certificate(tmp_path: Path) -> None:
    """New connections get the new one; a broken one changes nothing."""
    files = issue(10).write(tmp_path)
    certificates = Certificates(*files)
    issue(11).write(tmp_path)
    certificates.reload()
    assert serial(certificates) == issue(11).certificate
    files[0].write_bytes(issue(10).certificate)  # the key of 11 does not fit
    with pytest.raises(CertificateBad, match="is not that of the first certificate"):
        certificates.reload()
    files[0].unlink()
    with pytest.raises(CertificateBad, match="cannot read"):
        certificates.reload()
    assert serial(certificates) == issue(11).certificate


def test_what_an_operator_may_do_wrong(tmp_path: Path) -> None:
    """Each mistake has its own text, with the file's name and no prompt for a password."""
    certificate, key = issue(10).write(tmp_path)
    _, locked = issue(12, b"geheim").write(tmp_path, "locked")
    _, other = issue(11).write(tmp_path, "other")
    garbage = tmp_path / "garbage"
    garbage.write_text("no PEM")
    for files, text in (
        ((tmp_path / "none", key), "cannot read .*none: No such file"),
        ((certificate, tmp_path), "cannot read .*: Is a directory"),
        ((certificate, other), r"the key in .*other\.key is not that of the first certificate in .*relay\.pem"),
        ((certificate, locked), r"the key in .*locked\.key is encrypted"),
        ((certificate, None), r"cannot use .*relay\.pem \(without --tls-key\): expected certificate and private key"),
        ((garbage, key), "expected certificate and private key in PEM form"),
        ((certificate, garbage), "expected certificate and private key in PEM form"),
    ):
        with pytest.raises(CertificateBad, match=text):
            Certificates(*files)
