"""The Prometheus server that an analysis queries, and its credentials."""

from __future__ import annotations

import logging
import time

from sluicegate.adapters import bounded
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.prometheus import Prometheus, PrometheusEndpoint, PrometheusError, Sample, credentials_of
from sluicegate.adapters.unexpected import log_unexpected, unexpected_message
from sluicegate.api.resource import Key
from sluicegate.config import hosts
from sluicegate.config.settings import Settings
from sluicegate.core.analysis import promql
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.secrets import read_secret

logger = logging.getLogger(__name__)
MAX_SECRETS = 1024
"""Maximum number of cached Secrets."""
SECRET_SECONDS = 60.0
"""Seconds for which a Secret is cached, because every rollout needs it several times a minute."""


class PrometheusResolver:
    """Queries the Prometheus server of a resource.

    It is the server in the resource's spec, or else the one in the operator's settings.
    """

    def __init__(self, client: KubeClient, settings: Settings, prometheus: Prometheus) -> None:
        """Create a client that queries the server of each resource.

        Args:
            client: Reads Secrets.
            settings: The operator's settings, which may define a server.
            prometheus: The HTTP client of Prometheus. The caller closes it.
        """
        self._client = client
        self._settings = settings
        self._prometheus = prometheus
        self._credentials_cache: dict[Key, tuple[float, Credentials]] = {}

    async def query(self, run: AnalysisRun, query: str) -> list[Sample]:
        """Run a query whose result is an instant vector.

        Raises:
            PrometheusError: The query failed. The error says why, and what to do.
        """
        return await self._prometheus.query(await self.endpoint(run), self._limited(run, query), run.timeout)

    async def number(self, run: AnalysisRun, query: str) -> float:
        """Run a query whose result is one number.

        Raises:
            PrometheusError: The query failed. The error says why, and what to do.
        """
        return await self._prometheus.number(await self.endpoint(run), self._limited(run, query), run.timeout)

    async def endpoint(self, run: AnalysisRun) -> PrometheusEndpoint:
        """Return the server's address and credentials.

        Credentials are sent only to the address that they are configured with. Those of the settings go to the address
        in the settings. Those of a resource's namespace go to the address in that resource's spec.

        Raises:
            PrometheusError: No server is configured, the settings do not allow its host, or its Secret is missing or
                invalid.
        """
        source, platform = run.spec.source, self._settings.prometheus
        if source.address is not None:
            self._check_host(source.address)
            secret = source.secret_ref.name if source.secret_ref is not None else None
            credentials = await self._credentials(run.key[0], secret)
            return PrometheusEndpoint(source.address, credentials, "spec.rollout.analysis.source.secretRef")
        if platform.address is None:
            raise PrometheusError(
                "No Prometheus server is configured. Set spec.rollout.analysis.source to type Prometheus with an "
                "address, or ask the platform team to set prometheus.address in the operator's settings."
            )
        credentials = await self._credentials(self._settings.operator_namespace, platform.secret)
        return PrometheusEndpoint(platform.address, credentials, "the operator's setting prometheus.secret")

    def _check_host(self, address: str) -> None:
        allowed = self._settings.tenants.metrics_source_hosts
        host = bounded.host_of(address)
        if allowed is not None and not hosts.matches(host, allowed):
            raise PrometheusError(
                f'spec.rollout.analysis.source.address: the platform does not allow the host "{host}" (setting '
                f"tenants.metricsSourceHosts). It allows: {', '.join(allowed) or 'none'}. Remove the address to query "
                "the platform's server, or ask the platform team to allow the host."
            )

    def _limited(self, run: AnalysisRun, query: str) -> str:
        """Return the query with the matcher of the namespace, if the settings require it."""
        label = self._settings.prometheus.namespace_label
        if label is None:
            return query
        try:
            return promql.limited(query, label, run.key[0])
        except promql.UnsupportedQuery as error:
            raise PrometheusError(
                f"The query cannot be limited to namespace {run.key[0]} (setting prometheus.namespaceLabel): {error}. "
                "Correct spec.rollout.analysis.metrics[].query, or use only selectors, functions, aggregations and "
                "operators of PromQL without comments."
            ) from None

    async def _credentials(self, namespace: str, secret: str | None) -> Credentials:
        if secret is None:
            return Credentials()
        read, credentials = self._credentials_cache.get((namespace, secret), (None, Credentials()))
        if read is None or time.monotonic() - read > SECRET_SECONDS:
            try:
                credentials = await self._read(namespace, secret)
            except PrometheusError:
                raise
            except Exception as error:  # The failure of one rollout must not stop the analysis of others.
                what = f'the Secret "{secret}" in namespace "{namespace}"'
                log_unexpected(logger, what, error)
                raise PrometheusError(unexpected_message(f"Reading {what}", error)) from None
            self._credentials_cache.pop((namespace, secret), None)
            self._credentials_cache[namespace, secret] = (time.monotonic(), credentials)
            while len(self._credentials_cache) > MAX_SECRETS:
                del self._credentials_cache[next(iter(self._credentials_cache))]
        return credentials

    async def _read(self, namespace: str, secret: str) -> Credentials:
        title = f'The Secret "{secret}" in namespace "{namespace}"'
        try:
            data = await read_secret(self._client, namespace, secret)
        except KubeError as error:
            raise PrometheusError(f"{title} cannot be read: {error}. The operator retries.") from None
        if data is None:
            raise PrometheusError(
                f"{title} does not exist, or the operator may not read it. Create it, "
                "and add it to the chart value rbac.workloadSecrets."
            )
        return credentials_of(data, title)
