"""What several machines share, on this one: objects behind S3's protocol, and a Redis behind a password and TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hemaloop.children import free_port
from loop_stage import wait_until

BUCKET = "models"


@contextlib.contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """A server that speaks S3 (moto), with an empty bucket: the environment in which it is found."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _made(f"{url}/{BUCKET}"), "the object store", 120)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "a-key",
                "AWS_SECRET_ACCESS_KEY": "a-secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            server.terminate()


def _made(address: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a-key/20260101/us-east-1/s3/aws4_request"}
        return requests.put(address, headers=signed, timeout=30).ok
    return False


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of 127.0.0.1, signed by itself. chain: certificate and key. authority: the certificate alone."""

    chain: Path
    authority: Path


def certificate(folder: Path) -> Certificate:
    """A new one, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    authority, chain = folder / "authority.pem", folder / "chain.pem"
    authority.write_bytes(text)
    chain.write_bytes(text + key.private_bytes(serialization.Encoding.PEM, *form))
    return Certificate(chain, authority)


@contextlib.contextmanager
def over_tls(url: str, folder: Path) -> Iterator[str]:
    """The Redis of an address, behind TLS: the address that clients use, password and authority included."""
    parts = urlsplit(url)
    proof = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(proof.chain)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, context, parts.hostname, parts.port), daemon=True).start()
    try:
        port = listener.getsockname()[1]
        yield f"rediss://:{parts.password}@127.0.0.1:{port}/0?ssl_ca_certs={quote(str(proof.authority))}"
    finally:
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, host: str, port: int) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(plain, context, host, port), daemon=True).start()


def _join(plain: socket.socket, context: ssl.SSLContext, host: str, port: int) -> None:
    with (
        contextlib.suppress(OSError),
        plain,
        context.wrap_socket(plain, server_side=True) as outer,
        socket.create_connection((host, port)) as inner,
    ):
        back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
        back.start()
        _copy(outer, inner)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def machine(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of hemaloop with an environment of its own."""
    full = [sys.executable, "-m", "hemaloop", *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            full, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
