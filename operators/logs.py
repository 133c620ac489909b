"""Log lines of the operator: JSON for machines, text for people."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter

from controlplane.settings import OperatorSettings


def configure(settings: OperatorSettings) -> None:
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # kopf tells each event at INFO and DEBUG, twice; what we do about them is told by the services.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # A node that restarts drops its connections; what that means is told once, by whoever asked.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
