"""Credentials of the operator for a registry, read from a Secret.

The keys are MLflow's own environment variables, so that the same Secret works with `envFrom` in a pod.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from sluicegate.core.models.resolution import ResolutionError, secret_invalid

_USERNAME: Final = "MLFLOW_TRACKING_USERNAME"
_PASSWORD: Final = "MLFLOW_TRACKING_PASSWORD"
_TOKEN: Final = "MLFLOW_TRACKING_TOKEN"
_CERT: Final = "MLFLOW_TRACKING_CLIENT_CERT_PEM"
_KEYS: Final = f"{_USERNAME} and {_PASSWORD}, {_TOKEN}, {_CERT}, tls.crt and tls.key, token, or ca.crt"
_SERVICE_ACCOUNT: Final = frozenset({"token", "namespace", "ca.crt"})
"""Keys of a Secret of type kubernetes.io/service-account-token. Its ca.crt is that of the API server, not of a
registry."""
_SHORTEST: Final = 4
"""Minimum length of a value that is removed from texts of other programs. A shorter one occurs in every sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Credentials of one registry.

    Comparing two objects shows whether a Secret was rotated.

    Attributes:
        username: User name for basic authentication, with `password`.
        password: See `username`.
        token: Bearer token. Basic authentication takes precedence if both are set (mlflow `rest_utils.http_request`).
        client_pem: Client certificate followed by its key, PEM.
        ca_pem: Certificates to trust instead of the system's.
    """

    username: str | None = None
    password: str | None = None
    token: str | None = None
    client_pem: str | None = None
    ca_pem: str | None = None

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes], secret: str = "The registry's Secret") -> Credentials:
        """Return the credentials in a Secret's (decoded) data.

        Unknown keys are ignored. Line ends after a value are removed, because most values are created with `echo secret
        | base64`.

        Args:
            data: The Secret's keys and values.
            secret: Name of the Secret in messages, such as `Secret "mlflow" in namespace "shop"`.

        Raises:
            ResolutionError: SecretInvalid. The message quotes no value.
        """

        def text(key: str) -> str | None:
            try:
                value = data[key].decode().rstrip("\r\n") if key in data else ""
            except UnicodeDecodeError:
                raise ResolutionError(secret_invalid(secret, f"{key} is not UTF-8 text")) from None
            return value or None

        username, password = (_one_line(text(key), key, secret) for key in (_USERNAME, _PASSWORD))
        token = _one_line(text(_TOKEN), _TOKEN, secret) or _one_line(text("token"), "token", secret)
        certificate, key = text("tls.crt"), text("tls.key")
        if (username is None) != (password is None):
            missing = _PASSWORD if password is None else _USERNAME
            raise ResolutionError(
                secret_invalid(secret, f"{missing} is missing; a user name and a password are required together")
            )
        if (certificate is None) != (key is None):
            missing = "tls.key" if key is None else "tls.crt"
            raise ResolutionError(
                secret_invalid(secret, f"{missing} is missing; a certificate and a key are required together")
            )
        pair = f"{certificate}\n{key}\n" if certificate else None
        authority = None if data.keys() >= _SERVICE_ACCOUNT else text("ca.crt")
        credentials = cls(username, password, token, text(_CERT) or pair, authority)
        if credentials == cls():
            raise ResolutionError(secret_invalid(secret, f"it has none of the keys {_KEYS}"))
        try:
            credentials.ssl_context()
        except (OSError, ValueError, TypeError):  # ssl.SSLError is an OSError; PEM that is not ASCII causes a TypeError
            raise ResolutionError(secret_invalid(secret, "its certificate, key or ca.crt is not valid PEM")) from None
        return credentials

    @property
    def present(self) -> bool:
        """Tell whether there are credentials. Trusted certificates alone do not count."""
        return bool((self.username and self.password) or self.token or self.client_pem)

    def hidden(self, text: str) -> str:
        """Return another program's text without any of these credentials.

        Some servers repeat what they received.
        """
        pair = f"{self.username}:{self.password}".encode() if self.password else b""
        values = [self.password, self.token, base64.b64encode(pair).decode() if pair else None]
        for value in sorted(
            (secret for secret in values if secret and len(secret) >= _SHORTEST), key=len, reverse=True
        ):
            text = text.replace(value, "***")
        return text

    def headers(self) -> dict[str, str]:
        """Return the headers for a bearer token.

        Basic authentication uses httpx's own `auth`.
        """
        if self.token is None or self.username is not None:
            return {}
        return {"Authorization": f"Bearer {self.token}"}

    def ssl_context(self, ca_pem: str | None = None) -> ssl.SSLContext:
        """Return the TLS settings for these credentials.

        Args:
            ca_pem: Certificates to trust if the credentials have none of their own.

        Raises:
            ssl.SSLError: A certificate or key is not valid.
        """
        authority = self.ca_pem or ca_pem
        context = ssl.create_default_context(cadata=authority) if authority else httpx.create_ssl_context()
        if self.client_pem is not None:
            _load_pair(context, self.client_pem)
        return context

    def __repr__(self) -> str:
        held = [name for name in self.__slots__ if getattr(self, name) is not None]
        return f"Credentials({', '.join(f'{name}=***' for name in held)})"


def _one_line(value: str | None, key: str, secret: str) -> str | None:
    """Return `value` if it is valid in an HTTP header.

    Raises:
        ResolutionError: The value could add a header or make one invalid.
    """
    if value is not None and (not value.isprintable() or (key in (_TOKEN, "token") and not value.isascii())):
        raise ResolutionError(
            secret_invalid(
                secret, f"{key} contains a character, such as a line break, that an HTTP header does not allow"
            )
        )
    return value


def _load_pair(context: ssl.SSLContext, pem: str) -> None:
    """Load a certificate and its key.

    The ssl module reads only files. An anonymous file in memory keeps the key off the disk.
    """
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, pem.encode())
        # With a password callback, OpenSSL does not ask the terminal for the key's password.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)
