"""Where a user's quotas come from: one layer a source, gathered here and nowhere else. Pure.

The least of each key over all layers is what Kafka is told (quotas.effective), and the user service is the only one
that tells it: nobody writes a user's quotas beside it. So a layer restores exactly what was there before when it is no
longer returned; nothing is remembered for that.

How a layer is added: write `name_layer(user, tenant, cell) -> Layer | None`, None where it has nothing to say about
this user, and put it into LAYERS. What it must know of the cell is a field of CellState, with a default that means
nothing is known, filled where the users' pass makes it (services/users/shares.py). A user whose object does not change
follows at the next pass of its cell's users; wake `users_key` to have it at once.

`tenant` is the KafkaTenant that the user belongs to, None for a user of a cluster: its priority is
`tenant.spec.priority`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.api.kafka_tenant import KafkaTenant, Priority
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.shedding.tighten import NOTHING, SHED, Shed, is_tightened, tightened
from controlplane.domain.tenants.quotas import Division, divided, whole
from controlplane.domain.users.quotas import Layer, declared, effective

TENANT = "tenant"
"""The layer of the user's tenant: its part of what the tenant may take."""


@dataclass(frozen=True, slots=True)
class CellState:
    """What quotas depend on beside the objects, of one cell at one pass; the same for all of its users."""

    divisions: Mapping[str, Division] = field(default_factory=dict)
    """By tenant: what its quotas are divided by."""
    shed: Shed = NOTHING
    observed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Quotas as Kafka had them when the pass began, by user and Kafka's key."""

    def division(self, tenant: KafkaTenant | None) -> Division | None:
        """None for a user of the cluster. One user on one broker where nothing is known."""
        return None if tenant is None else self.divisions.get(tenant.metadata.name, Division())


SourceOfLayer = Callable[[KafkaUser, KafkaTenant | None, CellState], Layer | None]


def declared_layer(user: KafkaUser, tenant: KafkaTenant | None, cell: CellState) -> Layer | None:  # noqa: ARG001
    found = declared(user.spec.quotas)
    return found if found.values else None


def tenant_layer(user: KafkaUser, tenant: KafkaTenant | None, cell: CellState) -> Layer | None:  # noqa: ARG001
    if tenant is None or (division := cell.division(tenant)) is None:
        return None
    found = divided(whole(tenant.spec.quotas), division)
    return Layer(TENANT, found) if found else None


def shed_layer(user: KafkaUser, tenant: KafkaTenant | None, cell: CellState) -> Layer | None:
    """A part of what the other layers say; what somebody set by hand is not among it, and stays as it is."""
    if tenant is None or (division := cell.division(tenant)) is None:
        return None
    others = effective(layer for source in _TO_TIGHTEN if (layer := source(user, tenant, cell)) is not None)
    by_hand = cell.observed.get(user.user_name, {}).keys() - user.status.quotas.keys() - others.keys()
    untouched = () if user.spec.exclusive else by_hand
    return tightened(cell.shed, tenant.spec.priority, others, users=division.users, untouched=untouched)


_TO_TIGHTEN: tuple[SourceOfLayer, ...] = (declared_layer, tenant_layer)
LAYERS: tuple[SourceOfLayer, ...] = (*_TO_TIGHTEN, shed_layer)
"""In the order in which they are shown, and in which the first of several equal ones is said to bind."""


def layers(user: KafkaUser, tenant: KafkaTenant | None, cell: CellState) -> tuple[Layer, ...]:
    """Those that say something."""
    found = (source(user, tenant, cell) for source in LAYERS)
    return tuple(layer for layer in found if layer is not None)


def given_back(recorded: Iterable[Layer], tenant: KafkaTenant | None, shed: Shed) -> Mapping[str, float]:
    """Of the layers that a status tells of: what was shed and is not any more, by Kafka's key.

    Whose tenant is gone waits until nobody is tightened: its priority is not known any more.
    """
    if is_tightened(shed.level, tenant.spec.priority if tenant is not None else Priority.BULK):
        return {}
    return next((layer.values for layer in recorded if layer.name == SHED), {})


def binding(found: Iterable[Layer]) -> dict[str, str]:
    """By key, the layer whose value counts: the least, of equal ones the first."""
    bound: dict[str, tuple[float, str]] = {}
    for layer in found:
        for key, value in layer.values.items():
            if key not in bound or value < bound[key][0]:
                bound[key] = (value, layer.name)
    return {key: name for key, (_, name) in sorted(bound.items())}
