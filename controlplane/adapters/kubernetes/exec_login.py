"""Logins by a plugin (`users[].user.exec` of a kubeconfig): EKS, GKE and OIDC log in this way.

After client-go's client authentication API, versions v1 and v1beta1: the plugin is run with KUBERNETES_EXEC_INFO set
and prints an ExecCredential; its answer is kept until a minute before it expires.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from controlplane.adapters.kubernetes.errors import KubeConfigError

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
LOGIN_SECONDS = 60.0
MARGIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Credential:
    """`expires` is seconds since the epoch, None for one that does not."""

    token: str | None
    certificate_pem: str | None
    key_pem: str | None
    expires: float | None


@dataclass
class ExecLogin:
    """One plugin. `credential` runs it when there is none yet or the last one is about to expire."""

    api_version: str
    command: Sequence[str]
    environment: Mapping[str, str]
    hint: str = ""
    _last: Credential | None = field(default=None, init=False, repr=False)

    def credential(self) -> Credential:
        """Raises KubeConfigError with the plugin's own last words."""
        if self._last is None or (self._last.expires or float("inf")) - MARGIN_SECONDS < time.time():
            self._last = self._run()
        return self._last

    def _run(self) -> Credential:
        info = {
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": sys.stdin is not None and sys.stdin.isatty()},
        }
        try:
            done = subprocess.run(
                self.command,
                env={**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                capture_output=True,
                text=True,
                timeout=LOGIN_SECONDS,
                check=False,
            )
        except OSError as error:
            hint = f"; {self.hint}" if self.hint else ""
            raise KubeConfigError(f"login plugin {self.command[0]}: {error.strerror}{hint}") from error
        except subprocess.TimeoutExpired as error:
            raise KubeConfigError(f"login plugin {self.command[0]} gave no answer in {LOGIN_SECONDS:g} s") from error
        if done.returncode:
            words = done.stderr.strip().splitlines()[-1:] or ["without a word"]
            raise KubeConfigError(f"login plugin {self.command[0]} ended with {done.returncode}: {words[0]}")
        return self._parse(done.stdout)

    def _parse(self, text: str) -> Credential:
        try:
            status: Mapping[str, Any] = json.loads(text)["status"]
            expires = status.get("expirationTimestamp")
            credential = Credential(
                token=status.get("token"),
                certificate_pem=status.get("clientCertificateData"),
                key_pem=status.get("clientKeyData"),
                expires=datetime.fromisoformat(expires).timestamp() if expires else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KubeConfigError(f"login plugin {self.command[0]} did not print an ExecCredential") from error
        if not credential.token and not credential.certificate_pem:
            raise KubeConfigError(f"login plugin {self.command[0]} gave neither a token nor a certificate")
        return credential


def exec_login(section: Any, kubeconfig: Path) -> ExecLogin:
    """The `exec` section of a user. Raises KubeConfigError. A command with a slash is relative to the kubeconfig."""
    if not isinstance(section, dict) or not isinstance(section.get("command"), str):
        raise KubeConfigError(f"kubeconfig {kubeconfig}: an exec section without a command")
    if section.get("apiVersion") not in VERSIONS:
        raise KubeConfigError(
            f"kubeconfig {kubeconfig}: exec plugin {section['command']} speaks {section.get('apiVersion')}; "
            f"kfleet knows {' and '.join(VERSIONS)}"
        )
    command = section["command"]
    if "/" in command:
        command = str(kubeconfig.parent / command)
    return ExecLogin(
        api_version=section["apiVersion"],
        command=(command, *(str(argument) for argument in section.get("args") or ())),
        environment={entry["name"]: str(entry["value"]) for entry in section.get("env") or ()},
        hint=" ".join(str(section.get("installHint") or "").split()),
    )
