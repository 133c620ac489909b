"""`--what-if KEY=VALUE` of `kfleet cluster plan`: parts of a spec, named as they are in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import typer
from pydantic import TypeAdapter, ValidationError

from controlplane.api.kafka_cluster import KAFKA_VERSION_PATTERN
from controlplane.api.rollout import MaxUnavailable, UnprotectedPartitions
from controlplane.services.cluster.plan import NOTHING_ELSE, WhatIf

_LIMIT: TypeAdapter[int | str] = TypeAdapter(MaxUnavailable)


def what_if_of(words: Sequence[str]) -> WhatIf:
    """Raises typer.BadParameter for a key that cannot be planned with or a value that its field would refuse."""
    wanted = NOTHING_ELSE
    for word in words:
        key, given, value = word.partition("=")
        if not given or key not in _READERS:
            raise _bad(f"{word!r}: one of {', '.join(f'{name}=...' for name in _READERS)}")
        wanted = _READERS[key](wanted, value)
    return wanted


def _version(wanted: WhatIf, value: str) -> WhatIf:
    if not re.match(KAFKA_VERSION_PATTERN, value):
        raise _bad(f"version={value}: a Kafka version has three numbers, such as 4.3.1")
    return replace(wanted, version=value)


def _max_unavailable(wanted: WhatIf, value: str) -> WhatIf:
    try:
        limit = _LIMIT.validate_python(int(value) if value.removeprefix("-").isdecimal() else value)
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise _bad(f"maxUnavailable={value}: {words}") from None
    except ValueError:  # more digits than Python reads
        raise _bad(f"maxUnavailable={value[:20]}...: is neither a number nor a percentage") from None
    return replace(wanted, max_unavailable=limit)


def _unprotected(wanted: WhatIf, value: str) -> WhatIf:
    known = [policy.value for policy in UnprotectedPartitions]
    if value not in known:
        raise _bad(f"unprotectedPartitions={value}: one of {', '.join(known)}")
    return replace(wanted, unprotected=UnprotectedPartitions(value))


def _bad(words: str) -> typer.BadParameter:
    return typer.BadParameter(words, param_hint="--what-if")


_READERS: dict[str, Callable[[WhatIf, str], WhatIf]] = {
    "version": _version,
    "maxUnavailable": _max_unavailable,
    "unprotectedPartitions": _unprotected,
}
