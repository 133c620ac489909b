"""One KafkaUser on its way through a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.api import names
from controlplane.api.conditions import seconds
from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.api.kafka_user import KafkaUser, QuotaLayerStatus
from controlplane.domain.check import Check
from controlplane.domain.shedding.tighten import SHED
from controlplane.domain.tenants.quotas import Division
from controlplane.domain.users import acls, quotas
from controlplane.domain.users.certificates import is_over
from controlplane.domain.users.departed import Departed
from controlplane.domain.users.layers import TENANT, CellState, given_back, layers
from controlplane.domain.users.planner import AccessObservation, DesiredUser
from controlplane.domain.users.quotas import Layer
from controlplane.ports import Acl, KafkaError, Object
from controlplane.services.users.credentials import Case, Obstacle, Told
from controlplane.services.users.status import quota_layers


@dataclass
class Entry:
    """An object as it was read; `user` follows what the pass has written since."""

    obj: Object
    user: KafkaUser
    tenant: KafkaTenant | None = None
    """Whose user it is, also while it is barred; None for a user of the cluster, and where the tenant is gone."""
    refusal: Check | None = None
    """Why nothing of it is looked at."""
    misdeclared: bool = False
    """It is kept out, and what it declares is refused: the rules that it has count in its place."""
    barred: Check | None = None
    """Why it gets nothing new."""
    case: Case | None = None
    problem: Obstacle | None = None
    errors: list[KafkaError] = field(default_factory=list)
    events: list[Told] = field(default_factory=list)
    drifted: int = 0
    anothers: bool = False
    """Kafka has a password of this name, and nothing says that it was made for this user."""
    departed: Departed | None = None
    """What is remembered of its principal: of one who had it before, or was kept out."""
    last_certificate: float | None = None
    """When the certificate ends that its Secret has, or may have had, as it goes out."""
    unremembered: bool = False
    """It is being deleted, and that could not be noted down for later: it is not let go."""
    unrecorded: bool = False
    """What is to be made for it could not be recorded: it is kept out if that is due, and let in no further."""
    unenrolled: Check | None = None
    """Why the operator may have no Secrets in its namespace."""
    skip: bool = False
    """It moved or went away meanwhile: its event wakes another pass."""

    @property
    def key(self) -> str:
        return f"{self.user.metadata.namespace}/{self.user.metadata.name}"

    @property
    def obstacle(self) -> Obstacle | None:
        """Why its credentials could not be brought about."""
        return self.problem or (self.case.problem if self.case is not None else None)

    @property
    def let_in(self) -> bool:
        """It has had credentials."""
        return self.user.status.credential is not None

    @property
    def has_something(self) -> bool:
        """There may be rules or quotas in Kafka that were made for it."""
        return bool(self.user.status.acls or self.user.status.quotas or self.user.status.announced)

    @property
    def of_tenant(self) -> bool:
        return self.user.spec.tenant_ref is not None

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

    @property
    def _declared(self) -> frozenset[Acl]:
        """What it may do by its object."""
        principal = self.user.principal
        if self.misdeclared:
            return acls.from_texts(principal, self.user.status.acls) - acls.revocation(principal)
        return acls.declared(principal, self.user.spec.authorization.acls)

    def desired(self, cell: CellState) -> DesiredUser:
        user = self.user
        created = user.metadata.creation_timestamp
        return DesiredUser(
            key=self.key,
            user=user.user_name,
            principal=user.principal,
            tls=user.is_tls,
            created_at=datetime.fromisoformat(created).timestamp() if created else 0.0,
            paused=self.paused,
            revoked=self.revoked,
            deleting=self.deleting,
            acls=self._declared,
            layers=self.layers(cell),
            given_back=self.given_back(cell),
            exclusive=user.spec.exclusive,
            owned_acls=acls.from_texts(user.principal, user.status.acls),
            owned_quotas=quotas.from_texts(user.status.quotas),
            certified=self._certified,
            not_after=self._not_after,
            anothers=self.anothers,
            let_in=self.let_in,
            pending=self.pending,
            barred=self.barred,
            within=self._prefix,
            owed=self.departed is not None and self.departed.owed,
            announced=self.announced,
        )

    def is_spent(self, observed: AccessObservation) -> bool:
        """The password that its Secret may still have was taken from Kafka to keep it out."""
        denials = acls.revocation(self.user.principal) - self._declared
        was_out = self.departed is not None or bool(denials & (observed.acls or frozenset()))
        return was_out and self.user.user_name not in observed.scram

    @property
    def announced(self) -> int | None:
        """Iterations of a first password that Kafka may have been told for it."""
        announced = self.user.status.announced
        return announced.iterations if announced is not None else None

    @property
    def pending(self) -> bool:
        """Who had its principal before is still to be kept out: the cluster was away."""
        return self.departed is not None and self.departed.pending

    @property
    def _certified(self) -> bool:
        """Where nothing is remembered of who had its principal before it may be a certificate's."""
        before = self.departed.certificate if self.departed is not None else not self.let_in
        return self.user.is_tls or before

    def is_over(self, now: float) -> bool:
        """Whether nobody can be its principal any more with what was made for it before."""
        return is_over(self._not_after, now, certificate=self._certified)

    @property
    def _not_after(self) -> float | None:
        """When the last certificate of its principal expires and its last session ends, those of who had it before
        among them; None where nobody knows, and for none."""
        credential = self.user.status.credential
        own = (made.not_after for made in (credential, self.user.status.announced) if made is not None)
        ends = [*(seconds(end) for end in own if end is not None), self.last_certificate]
        if self.departed is not None:
            if self.departed.until is None:
                return None
            ends.append(self.departed.until)
        return max((end for end in ends if end is not None), default=None)

    def layers(self, cell: CellState) -> tuple[Layer, ...] | None:
        """Of one that is left alone, whose tenant is gone, or who has no part in it at the moment: those that are
        recorded, less what was shed and is not any more. None where none are."""
        if not self._is_left_alone:
            return layers(self.user, self.tenant, cell)
        if not (recorded := self._recorded):
            return None
        back = self.given_back(cell)
        return tuple(one for one in recorded if not back or one.name != SHED)

    def given_back(self, cell: CellState) -> Mapping[str, float]:
        """What load shedding has set and does not ask for any more, as it is recorded."""
        return given_back(self._recorded, self.tenant, cell.shed)

    def layer_status(self, cell: CellState) -> tuple[QuotaLayerStatus, ...] | None:
        """Its layers as a status has them."""
        found = self.layers(cell)
        return quota_layers(found, self._division(cell)) if found is not None else None

    def layers_to_claim(self, cell: CellState) -> tuple[QuotaLayerStatus, ...] | None:
        """What its status has to tell of before they are set: what was shed too, until it has been given back."""
        if (found := self.layer_status(cell)) is None or not self.given_back(cell):
            return found
        return (*found, *(one for one in self.user.status.quota_layers if one.name == SHED))

    def _division(self, cell: CellState) -> Division | None:
        """What the layer of the tenant came of."""
        if not self._is_left_alone:
            return cell.division(self.tenant)
        found = next((one for one in self.user.status.quota_layers if one.name == TENANT), None)
        return Division(found.brokers or 1, found.users or 1) if found is not None else None

    @property
    def _is_left_alone(self) -> bool:
        return self.paused or (self.of_tenant and (self.tenant is None or self.out))

    @property
    def _recorded(self) -> list[Layer]:
        return [Layer(one.name, quotas.from_texts(one.values)) for one in self.user.status.quota_layers]

    @property
    def _prefix(self) -> str | None:
        """What a tenant's user is confined to; that of a tenant which is gone begins no name."""
        if not self.of_tenant:
            return None
        return self.tenant.spec.topic_prefix if self.tenant is not None else "\0"
