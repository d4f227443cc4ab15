"""What a cluster's certificate authority gives out."""

from __future__ import annotations

import base64
import ssl
import subprocess
from pathlib import Path

DAY = "1"

OPENSSL_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = IP:127.0.0.1, IP:::1
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Certificates:
    """A certificate authority, a server that it vouches for, and the user `admin`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "openssl.cnf").write_text(OPENSSL_CONFIG)
        self._make("ca", "kubernetes")
        for name, subject in (("server", "kube-apiserver"), ("client", "admin")):
            self._make(name, subject, "-CA", str(self["ca.crt"]), "-CAkey", str(self["ca.key"]))

    def __getitem__(self, name: str) -> Path:
        """`ca`, `server` or `client`, with `.crt` or `.key`."""
        return self._directory / name

    def data(self, name: str) -> str:
        """The same as a kubeconfig holds it inside."""
        return base64.b64encode(self[name].read_bytes()).decode()

    def context(self) -> ssl.SSLContext:
        """The server's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self["server.crt"], self["server.key"])
        context.load_verify_locations(self["ca.crt"])
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _make(self, name: str, subject: str, *signer: str) -> None:
        key, certificate = str(self[f"{name}.key"]), str(self[f"{name}.crt"])
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-config", str(self["openssl.cnf"]), "-keyout", key, "-out", certificate]
        shape = ["-subj", f"/CN={subject}", "-extensions", name, "-days", DAY]
        subprocess.run(
            ["openssl", "req", "-x509", *curve, *files, *shape, *signer], check=True, capture_output=True
        )
