"""The hosts that may receive credentials.

A model URI can name any host, and everybody who may write a model version or a ModelDeployment chooses the URI. The
pod's credentials therefore go only to the tracking server, to the hosts of a known store, and to the hosts in
SLUICEGATE_CREDENTIAL_HOSTS.
"""

import os
import re

import httpx

from sluicegate_scorer.errors import ScorerError, redact

VARIABLE = "SLUICEGATE_CREDENTIAL_HOSTS"
"""Environment variable with host names and patterns such as *.example.com, separated by commas or spaces."""
_PORTS = {"http": 80, "https": 443}


def allowed(url: str) -> bool:
    """Tell whether credentials may go to a URL: to the tracking server's address, or to an allowed host."""
    return _address(url) == _tracking() or matches(host(url), re.split(r"[,\s]+", os.environ.get(VARIABLE, "")))


def matches(name: str, patterns: list[str]) -> bool:
    """Tell whether a host name is one of `patterns`. `*.example.com` matches each host below example.com."""
    for pattern in (pattern.lower().rstrip(".") for pattern in patterns):
        if pattern.startswith("*.") and len(pattern) > 2:
            if name.endswith(pattern[1:]) and name != pattern[1:]:
                return True
        elif pattern and name == pattern:
            return True
    return False


def host(url: str) -> str:
    """Return the host that the HTTP client connects to for a URL.

    Raises:
        ScorerError: if the URL has no valid host.
    """
    return _address(url)[1]


def withheld(url: str) -> str:
    """Return why no credentials were sent to a URL, and the setting that allows it."""
    name = host(url)
    return (
        f"No credentials were sent, because {name} is neither the tracking server nor an allowed host. Correct the "
        f"model's URI, or add {name} to credentialHosts of the registry in the operator's settings, or to {VARIABLE} "
        "in the podSecret"
    )


def _address(url: str) -> tuple[str, str, int | None]:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ScorerError(f"cannot use {redact(url)}: {error}. Correct the model's URI") from error
    return parsed.scheme, parsed.host.lower().rstrip("."), parsed.port or _PORTS.get(parsed.scheme)


def _tracking() -> tuple[str, str, int | None] | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return _address(uri) if uri.lower().startswith(("http://", "https://")) else None
