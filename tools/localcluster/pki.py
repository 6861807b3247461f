"""Certificates made with openssl: two authorities, and one for each component.

The keys are elliptic curve keys, because openssl makes one in a few milliseconds. An RSA key takes half a second.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

from tools.localcluster.shell import run

_DAYS = "365"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclasses.dataclass(frozen=True)
class Pki:
    """The folder with keys and certificates of one cluster."""

    folder: Path

    def crt(self, name: str) -> str:
        """Return the path of a certificate."""
        return str(self.folder / f"{name}.crt")

    def key(self, name: str) -> str:
        """Return the path of a private key."""
        return str(self.folder / f"{name}.key")

    def authority(self, name: str) -> None:
        """Create a certificate authority."""
        subject = ["-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
        run(
            [
                "openssl",
                "req",
                "-x509",
                *_KEY,
                "-days",
                _DAYS,
                *subject,
                "-keyout",
                self.key(name),
                "-out",
                self.crt(name),
            ]
        )

    def issue(self, name: str, subject: str, *, names: str = "", authority: str = "ca") -> None:
        """Create a key and a client certificate.

        If `names` has addresses, the certificate is for servers too.
        """
        request = run(["openssl", "req", "-new", *_KEY, "-subj", subject, "-keyout", self.key(name)])
        usage = "extendedKeyUsage=clientAuth" + (f",serverAuth\nsubjectAltName={names}" if names else "")
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(usage + "\n")
        signer = ["-CA", self.crt(authority), "-CAkey", self.key(authority), "-days", _DAYS]
        out = ["-extfile", extensions, "-out", self.crt(name)]
        run(["openssl", "x509", "-req", *signer, *out], stdin=request)

    def service_accounts(self) -> None:
        """Create the key pair that signs service account tokens."""
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key("sa")])
        run(["openssl", "ec", "-in", self.key("sa"), "-pubout", "-out", str(self.folder / "sa.pub")])

    def kubeconfig(self, path: Path, user: str, server: str) -> Path:
        """Write a kubeconfig for a user that has a certificate, and return its path.

        The kubeconfig needs no other file.
        """

        def data(file: str) -> str:
            return base64.b64encode(Path(file).read_bytes()).decode()

        cluster = {"server": server, "certificate-authority-data": data(self.crt("ca"))}
        login = {"client-certificate-data": data(self.crt(user)), "client-key-data": data(self.key(user))}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sluicegate", "cluster": cluster}],
            "users": [{"name": user, "user": login}],
            "contexts": [{"name": "sluicegate", "context": {"cluster": "sluicegate", "user": user}}],
            "current-context": "sluicegate",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1) + "\n")
        return path
