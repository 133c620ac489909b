"""Why a pod cannot start yet. The worker turns each into the waiting reason and the Event a kubelet's users know."""


class ConfigError(Exception):
    """The container's environment refers to something that is not there: CreateContainerConfigError."""


class MountError(Exception):
    """A volume cannot be set up: FailedMount. The message starts with the volume's name."""


class MissingError(Exception):
    """A ConfigMap, Secret, claim or volume does not exist; the message names it (`secret "x" not found`)."""
