"""One KafkaUser on its way through a pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from controlplane.api import names
from controlplane.api.conditions import seconds
from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.check import Check
from controlplane.domain.users import acls, quotas
from controlplane.domain.users.layers import CellState, layers
from controlplane.domain.users.planner import DesiredUser
from controlplane.ports import KafkaError, Object
from controlplane.services.users.credentials import Case, Obstacle, Told


@dataclass
class Entry:
    """An object as it was read; `user` follows what the pass has written since."""

    obj: Object
    user: KafkaUser
    tenant: KafkaTenant | None = None
    """Whose user it is; None for a user of the cluster."""
    refusal: Check | None = None
    case: Case | None = None
    problem: Obstacle | None = None
    errors: list[KafkaError] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    drifted: int = 0
    anothers: bool = False
    """Kafka has a password of this name, and nothing says that it was made for this user."""
    unrecorded: bool = False
    """What is to be made for it could not be recorded: it is kept out if that is due, and let in no further."""
    skip: bool = False
    """It moved or went away meanwhile: its event wakes another pass."""

    @property
    def key(self) -> str:
        return self.user.metadata.name

    @property
    def deleting(self) -> bool:
        return self.user.metadata.deletion_timestamp is not None

    @property
    def revoked(self) -> bool:
        return names.REVOKED in self.user.metadata.annotations

    @property
    def paused(self) -> bool:
        return self.user.metadata.annotations.get(names.PAUSED) == "true"

    @property
    def held_back(self) -> bool:
        """Its finalizer is there: it may have something in Kafka."""
        return names.USER_FINALIZER in self.user.metadata.finalizers

    @property
    def out(self) -> bool:
        return self.deleting or self.revoked

    def desired(self, cell: CellState) -> DesiredUser:
        user = self.user
        created, credential = user.metadata.creation_timestamp, user.status.credential
        ends = credential.not_after if credential is not None else None
        return DesiredUser(
            key=self.key,
            user=user.user_name,
            principal=user.principal,
            tls=user.is_tls,
            created_at=datetime.fromisoformat(created).timestamp() if created else 0.0,
            paused=self.paused,
            revoked=self.revoked,
            deleting=self.deleting,
            acls=acls.declared(user.principal, user.spec.authorization.acls),
            layers=layers(user, self.tenant, cell),
            exclusive=user.spec.exclusive,
            owned_acls=acls.from_texts(user.principal, user.status.acls),
            owned_quotas=quotas.from_texts(user.status.quotas),
            not_after=seconds(ends) if ends is not None else None,
            anothers=self.anothers,
        )
