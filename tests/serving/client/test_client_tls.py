"""The client over TLS, by REST and gRPC: whom it trusts, what it shows, and what it says when that fails."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.client import Client, ClientError, Retries, Tls
from tests.serving.client.client_stubs import ANSWER, GrpcStub, Stub, answer, grpc_running, running

PROTOCOLS = ("rest", "grpc")


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate for localhost that is its own authority, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@contextlib.contextmanager
def encrypted(protocol: str, certificate: str, key: str, *, ask_client: bool) -> Iterator[str]:
    """The address of a stub server that encrypts, and may ask for the client's certificate."""
    if protocol == "grpc":
        pem, secret = Path(certificate).read_bytes(), Path(key).read_bytes()
        credentials = grpc.ssl_server_credentials([(secret, pem)], pem if ask_client else None, ask_client)
        with grpc_running(GrpcStub(), credentials=credentials) as address:
            yield address
        return
    stub = Stub(*[answer(200, ANSWER)] * 9)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED if ask_client else ssl.CERT_NONE
    context.load_verify_locations(certificate)
    stub.socket = context.wrap_socket(stub.socket, server_side=True, do_handshake_on_connect=False)
    with running(stub):
        yield f"localhost:{stub.server_port}"


def ask(address: str, protocol: str, tls: Tls | None) -> str:
    retries = Retries(1, first_seconds=0.01)
    with Client(
        address, model="m", protocol=protocol, tls=tls, retries=retries, timeout_seconds=10
    ) as client:
        return client.classify("x")[0].label


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_authority_may_be_a_file(protocol: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with encrypted(protocol, certificate, key, ask_client=False) as address:
        assert ask(address, protocol, Tls(certificate)) == "good"
        with pytest.raises(
            ClientError, match=r"no encrypted connection: .*(?i:certificate.verify.failed).*; check"
        ):
            ask(address, protocol, Tls())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_authorities_of_the_machine_count(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certificate)  # where OpenSSL looks for them
    with encrypted(protocol, certificate, key, ask_client=False) as address:
        assert ask(address, protocol, Tls()) == "good"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_client_shows_its_certificate(protocol: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
    with encrypted(protocol, certificate, key, ask_client=True) as address:
        assert ask(address, protocol, Tls(certificate, certificate, key)) == "good"
        assert ask(address, protocol, Tls(certificate, str(both))) == "good"
        with pytest.raises(ClientError):
            ask(address, protocol, Tls(certificate))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_side_that_does_not_encrypt_is_told(protocol: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with (
        encrypted(protocol, certificate, key, ask_client=False) as address,
        pytest.raises(ClientError, match="no server answers|UNAVAILABLE"),
    ):
        ask(address, protocol, None)
    plain = grpc_running(GrpcStub()) if protocol == "grpc" else running(Stub())
    with plain as stub, pytest.raises(ClientError, match="no encrypted connection: .*check the TLS settings"):
        ask(stub if isinstance(stub, str) else f"localhost:{stub.server_port}", protocol, Tls(certificate))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_files_are_checked_before_anything_is_asked(protocol: str, tmp_path: Path) -> None:
    _certificate, key = make_certificate(tmp_path)
    for tls in (Tls(str(tmp_path / "none.pem")), Tls(key), Tls("", key, key)):
        with pytest.raises(ClientError, match="the TLS files cannot be used"):
            Client("x:1", model="m", protocol=protocol, tls=tls)
    with pytest.raises(ClientError, match="no certificate; give its file as well"):
        Client("x:1", model="m", protocol=protocol, tls=Tls("", "", key))
