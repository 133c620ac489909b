"""What a roll remembers survives `status.operation`, and stays within its bounds."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from property.strategies import batches_of_passes

from controlplane.api.operation import REPLICAS_OUT_TOPICS, Operation
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling.operation import from_operation, to_operation
from controlplane.domain.rolling.planner import MAX_RECORDED_PARTITIONS, MAX_RECORDED_TOPICS, plan_roll
from controlplane.domain.rolling.values import RollProgress, RollTarget


@settings(max_examples=20, deadline=None)
@given(batches_of_passes)
def test_progress_survives_the_status(cases: list[tuple[ClusterObservation, RollTarget, RollProgress]]) -> None:
    for observation, target, progress in cases:
        transition = plan_roll(observation, target, progress)
        written = transition.progress
        status = to_operation(transition, target, None, message="", now=observation.as_of).to_object()
        read = from_operation(Operation.model_validate(json.loads(json.dumps(status))))
        assert (read.id, read.goal, read.step) == (written.id, written.goal, written.step)
        assert read.intent == written.intent
        assert read.replicas_out_before == written.replicas_out_before
        if written.all_back_since is None:
            assert read.all_back_since is None
        else:
            assert read.all_back_since == math.ceil(written.all_back_since)


def test_the_record_of_several_nodes_fits_the_schema() -> None:
    assert 4 * MAX_RECORDED_TOPICS < REPLICAS_OUT_TOPICS
    assert MAX_RECORDED_PARTITIONS < 4000
