"""KRaft process roles, spelled as in the custom resource."""

from enum import StrEnum


class Role(StrEnum):
    """`process.roles` (KIP-500); a node that has both is called combined."""

    CONTROLLER = "Controller"
    BROKER = "Broker"
