"""How to reach an API server: from a kubeconfig or from a pod's ServiceAccount mount."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.adapters.kubernetes.errors import KubeConfigError as KubeConfigError
from controlplane.adapters.kubernetes.exec_login import ExecLogin, exec_login

SERVICE_ACCOUNT_DIR = "var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class KubeConfig:
    """One server with credentials. A `token_file` is read again on every request: bound tokens rotate.

    Certificate and key are given as files or as PEM texts, both alike.
    """

    server: str
    ca_pem: str | None = None
    token: str | None = None
    token_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    client_cert_pem: str | None = None
    client_key_pem: str | None = None
    login: ExecLogin | None = None
    namespace: str = "default"
    verify: bool = True

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for a plain http server. Raises KubeConfigError for certificates that cannot be read."""
        if not self.server.startswith("https:"):
            return None
        try:
            return self._ssl_context()
        except (OSError, ValueError) as error:
            if isinstance(error, KubeConfigError):
                raise
            raise KubeConfigError(f"certificates for {self.server} cannot be used: {error}") from error

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca_pem) if self.ca_pem else ssl.create_default_context()
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert_file and self.client_key_file:
            context.load_cert_chain(self.client_cert_file, self.client_key_file)
        elif self.client_cert_pem and self.client_key_pem:
            _load_chain(context, self.client_cert_pem, self.client_key_pem)
        elif self.login is not None:
            credential = self.login.credential()
            if credential.certificate_pem and credential.key_pem:
                _load_chain(context, credential.certificate_pem, credential.key_pem)
        return context

    def bearer(self) -> str | None:
        if self.token_file is not None:
            return self.token_file.read_text().strip()
        if self.token is None and self.login is not None:
            return self.login.credential().token
        return self.token


def _load_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads a chain from files only: these live as long as the call, for this user's eyes."""
    with tempfile.TemporaryDirectory(prefix="kfleet-") as directory:
        files = Path(directory, "tls.crt"), Path(directory, "tls.key")
        for file, text in zip(files, (certificate, key), strict=True):
            file.touch(mode=0o600)
            file.write_text(text)
        context.load_cert_chain(*files)


def find_config(kubeconfig: Path | None, context: str | None) -> KubeConfig:
    """What a person at a terminal means: the file given, else $KUBECONFIG (several files, as kubectl merges them), else
    ~/.kube/config; inside a pod without any of them its ServiceAccount. Raises KubeConfigError.
    """
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig, context)
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    files = [path for path in named or [Path.home() / ".kube" / "config"] if path.exists()]
    if files:
        return _from_files(files, context)
    if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return from_service_account(os.environ.get("KFLEET_POD_ROOT", ""))
    looked = ", ".join(str(path) for path in named) or "~/.kube/config"
    raise KubeConfigError(f"no kubeconfig: {looked} is not there; say --kubeconfig FILE or set KUBECONFIG")


def from_kubeconfig(path: Path, context: str | None = None) -> KubeConfig:
    """Read one context (default: current-context). Raises KubeConfigError."""
    return _from_files([path], context)


def _from_files(paths: Sequence[Path], context: str | None) -> KubeConfig:
    documents = [(path, _load(path)) for path in paths]
    name = context or next((text for _, document in documents if (text := document.get("current-context"))), None)
    if not name:
        known = ", ".join(_names(documents, "contexts")) or "none"
        raise KubeConfigError(f"kubeconfig {paths[0]} has no current-context (known: {known}); say --context NAME")
    _, chosen = _named(documents, "contexts", "context", name)
    cluster_home, cluster = _named(documents, "clusters", "cluster", chosen.get("cluster"))
    user_home, user = _named(documents, "users", "user", chosen.get("user"))
    if not isinstance(cluster.get("server"), str):
        raise KubeConfigError(f"kubeconfig {cluster_home}: cluster {chosen.get('cluster')!r} has no server")
    if "auth-provider" in user:
        raise KubeConfigError(
            f"kubeconfig {user_home}: user of context {name!r} needs an auth-provider, which Kubernetes has given up; "
            "use a token, a certificate or an exec plugin"
        )
    inline = "client-certificate-data" in user or "client-key-data" in user
    try:
        return KubeConfig(
            server=cluster["server"].rstrip("/"),
            ca_pem=_pem(cluster, "certificate-authority", cluster_home),
            token=user.get("token"),
            token_file=_file(user_home, user.get("tokenFile")),
            client_cert_file=None if inline else _file(user_home, user.get("client-certificate")),
            client_key_file=None if inline else _file(user_home, user.get("client-key")),
            client_cert_pem=_pem(user, "client-certificate", user_home) if inline else None,
            client_key_pem=_pem(user, "client-key", user_home) if inline else None,
            login=exec_login(user["exec"], user_home) if user.get("exec") else None,
            namespace=chosen.get("namespace") or "default",
            verify=not cluster.get("insecure-skip-tls-verify", False),
        )
    except KubeConfigError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KubeConfigError(f"kubeconfig {user_home}: context {name!r}: {error}") from error


def from_service_account(pod_root: str = "") -> KubeConfig:
    """Read the mount every pod gets, under `pod_root` (empty in a real container). Raises KubeConfigError."""
    mount = Path(f"{pod_root}/{SERVICE_ACCOUNT_DIR}")
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not (mount / "token").exists():
        raise KubeConfigError("no kubeconfig given and not inside a pod (no ServiceAccount token)")
    return KubeConfig(
        server=f"https://{host}:{port}",
        ca_pem=(mount / "ca.crt").read_text(),
        token_file=mount / "token",
        namespace=(mount / "namespace").read_text().strip(),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KubeConfigError(f"cannot read kubeconfig {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeConfigError(f"kubeconfig {path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise KubeConfigError(f"kubeconfig {path} is {'empty' if document is None else 'not a kubeconfig'}")
    return document


def _pem(section: dict[str, Any], key: str, home: Path) -> str | None:
    """The data given in the file itself, else that of the file it names, relative to the kubeconfig."""
    if data := section.get(f"{key}-data"):
        return base64.b64decode(data, validate=True).decode()
    file = _file(home, section.get(key))
    return file.read_text() if file else None


def _file(kubeconfig: Path, value: str | None) -> Path | None:
    return kubeconfig.parent / value if value else None


Documents = Sequence[tuple[Path, dict[str, Any]]]


def _entries(documents: Documents, section: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path, document in documents:
        entries = document.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise KubeConfigError(f"kubeconfig {path}: {section} is not a list of named entries")
        yield from ((path, entry) for entry in entries)


def _names(documents: Documents, section: str) -> list[str]:
    return [str(entry.get("name", "?")) for _, entry in _entries(documents, section)]


def _named(documents: Documents, section: str, body: str, name: str | None) -> tuple[Path, dict[str, Any]]:
    """The first entry of that name and the file it stands in, as kubectl merges files."""
    for path, entry in _entries(documents, section):
        if entry.get("name") == name:
            found = entry.get(body) or {}
            if not isinstance(found, dict):
                raise KubeConfigError(f"kubeconfig {path}: {name!r} in {section} is not a mapping")
            return path, found
    known = ", ".join(_names(documents, section)) or "none"
    raise KubeConfigError(f"kubeconfig {documents[0][0]} has no entry {name!r} in {section} (known: {known})")
