"""What can be wrong with the way to an API server before anything was asked."""

from __future__ import annotations


class KubeConfigError(ValueError):
    """The kubeconfig (or the ServiceAccount mount) cannot be used; the message says which file and why."""
