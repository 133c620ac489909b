"""What can go wrong in the sandbox and be told to a person in one line."""

from __future__ import annotations


class SandboxError(Exception):
    """Says what is wrong and what to do; the CLI prints it and exits 1."""


class BuildError(SandboxError):
    """The control plane could not be built or Kafka not be downloaded; nothing half-made is left."""


class UnknownImageError(SandboxError):
    """No local runtime stands for this image; the process node reports ErrImagePull with the message."""
