"""A self-signed certificate for servers on loopback."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """The paths of two PEM files."""

    key: Path
    certificate: Path


def self_signed(folder: Path) -> Certificate:
    """Create a certificate for 127.0.0.1 in a folder."""
    made = Certificate(folder / "key.pem", folder / "cert.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=prometheus", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    return made
