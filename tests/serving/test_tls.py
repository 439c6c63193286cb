"""TLS for gRPC: certificates made here, in a file of TF Serving's form."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.serving.calls import predict_request, prediction_stub
from tests.serving.contract.toy import save_toy
from tests.serving.processes import RunningServer


@dataclasses.dataclass(frozen=True)
class Identity:
    """A key and the certificate of it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def certify(name: str, *, issuer: Identity | None = None) -> Identity:
    """A certificate for 127.0.0.1, by `issuer`; without one, of an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    return Identity(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


def quoted(pem: bytes) -> str:
    return '"' + pem.decode().replace("\n", "\\n") + '"'


@pytest.fixture(scope="module")
def authority() -> Identity:
    return certify("authority")


@pytest.fixture
def start_tls(
    tmp_path: Path, authority: Identity, start_server: Callable[..., RunningServer]
) -> Callable[[str], RunningServer]:
    """Starts a server whose SSL file has some more lines."""

    def start(more: str = "") -> RunningServer:
        (tmp_path / "toy").mkdir()
        save_toy(tmp_path / "toy" / "1", signatures=("serving_default",))
        identity = certify("server", issuer=authority)
        text = f"server_key: {quoted(identity.key_pem)}\nserver_cert: {quoted(identity.certificate_pem)}\n"
        (tmp_path / "ssl.config").write_text(text + more)
        return start_server(
            "--model_name=toy",
            f"--model_base_path={tmp_path / 'toy'}",
            f"--ssl_config_file={tmp_path / 'ssl.config'}",
        )

    return start


def ask(server: RunningServer, credentials: grpc.ChannelCredentials | None) -> str:
    """The label of a text, or the code of the error."""
    if credentials:
        channel = grpc.secure_channel(server.grpc_address, credentials)
    else:
        channel = grpc.insecure_channel(server.grpc_address)
    with channel:
        try:
            response = prediction_stub(channel).Predict(
                predict_request("serving_default", text=["hi"]), timeout=20
            )
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(response.outputs["label"].string_val[0].decode())


def test_c1_tls_from_pem_text(start_tls: Callable[..., RunningServer], authority: Identity) -> None:
    server = start_tls()
    trusting = grpc.ssl_channel_credentials(authority.certificate_pem)
    trusting_another = grpc.ssl_channel_credentials(certify("authority").certificate_pem)
    assert ask(server, trusting) == "short"
    assert ask(server, trusting_another) == "UNAVAILABLE"
    assert ask(server, None) == "UNAVAILABLE"


def test_c1_client_verify_asks_for_a_certificate_of_the_custom_ca(
    start_tls: Callable[..., RunningServer], authority: Identity
) -> None:
    clients = certify("clients")
    server = start_tls(f"custom_ca: {quoted(clients.certificate_pem)}\nclient_verify: true\n")
    known, stranger = certify("known", issuer=clients), certify("stranger", issuer=certify("clients"))
    answers = [
        ask(
            server,
            grpc.ssl_channel_credentials(authority.certificate_pem, client.key_pem, client.certificate_pem),
        )
        for client in (known, stranger)
    ]
    assert answers == ["short", "UNAVAILABLE"]
    assert ask(server, grpc.ssl_channel_credentials(authority.certificate_pem)) == "UNAVAILABLE"
