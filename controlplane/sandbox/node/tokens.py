"""Bound ServiceAccount tokens for projected volumes, through TokenRequest, refreshed before they end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import SERVICE_ACCOUNTS
from controlplane.ports import KubeError, Object
from controlplane.sandbox.node import objects

MINIMUM_SECONDS = 600
"""TokenRequest refuses shorter lives."""


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    refresh_at: float
    expires_at: float


class Tokens:
    """One token per (pod, audience, asked life). `refresh_fraction` of its life has to pass before a new one is asked.

    A refresh that fails keeps the old token while it is valid. A pod's tokens are bound to its
    uid and die with it.
    """

    def __init__(self, client: KubeClient, longest_seconds: int, refresh_fraction: float) -> None:
        self._client = client
        self._longest = longest_seconds
        self._fraction = refresh_fraction
        self._tokens: dict[tuple[str, str, int], Token] = {}

    async def get(self, pod: Object, audience: str, seconds: int) -> Token:
        """Raises KubeError when there is no valid token and none can be had."""
        key = (objects.uid(pod), audience, seconds)
        token, now = self._tokens.get(key), time.time()
        if token is not None and now < token.refresh_at:
            return token
        try:
            token = await self._request(pod, audience, max(MINIMUM_SECONDS, min(seconds, self._longest)), now)
        except KubeError:
            if token is None or now >= token.expires_at:
                raise
            return Token(token.value, now + (token.expires_at - now) / 10, token.expires_at)
        self._tokens[key] = token
        return token

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]

    async def _request(self, pod: Object, audience: str, seconds: int, now: float) -> Token:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": objects.name(pod), "uid": objects.uid(pod)}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.request(
            "POST",
            SERVICE_ACCOUNTS.path(objects.namespace(pod), account, "token"),
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {
                    "audiences": [audience] if audience else [],
                    "expirationSeconds": seconds,
                    "boundObjectRef": reference,
                },
            },
        )
        status = answer["status"]
        expires = objects.moment(status["expirationTimestamp"]).timestamp()
        return Token(status["token"], now + (expires - now) * self._fraction, expires)
