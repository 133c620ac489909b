"""`kfleet user test`: log in with the Secret as a real client does, one check a line; nothing of it is shown."""

from __future__ import annotations

import asyncio
import sys
import time

from controlplane import bootstrap
from controlplane.api.kafka_user import KafkaUser, ResourceType
from controlplane.cli.connect import Connection, connect
from controlplane.cli.errors import CliError
from controlplane.cli.options import Output, Where
from controlplane.cli.render import show_one
from controlplane.cli.user_read import user_of
from controlplane.cli.user_view import REPORT, LoginReport, report_text
from controlplane.domain.check import Check
from controlplane.domain.users import probe
from controlplane.domain.users import secret as files
from controlplane.ports import NotFoundError, PkiError
from controlplane.services.access.secrets import SECRETS, texts

LOGIN_SECONDS = 10.0
COORDINATOR_SECONDS = 60.0
"""The first question about a group of a cluster waits until brokers have created __consumer_offsets."""


async def show_test(where: Where, name: str, output: Output, seconds: float | None) -> bool:
    """Whether every check passes. `seconds` for each bootstrap server, and for groups to have a coordinator."""
    async with connect(where) as connection:
        user = await user_of(connection, name)
        checks = await _checks(user, await _secret(connection, user), seconds)
    report = LoginReport(user, tuple(checks))
    show_one(output, REPORT, report, text=lambda: report_text(report))
    failed = sum(not check.ok for check in report.checks)
    print(f"kfleet: {failed or 'none'} of {len(report.checks)} checks failed", file=sys.stderr)
    return report.ok


async def _secret(connection: Connection, user: KafkaUser) -> dict[str, str]:
    try:
        return texts(await connection.kube.get(SECRETS, user.secret_name, connection.namespace))
    except NotFoundError:
        raise CliError(
            f"Secret {user.secret_name} is not there: {user.metadata.name} has no credentials; "
            f"`kfleet user describe {user.metadata.name}` says why"
        ) from None


async def _checks(user: KafkaUser, data: dict[str, str], seconds: float | None) -> list[Check]:
    checks = [probe.check_secret(user, data)]
    if not checks[0].ok:
        return checks
    if user.is_tls:
        checks.append(_certificate(data))
    rules = user.spec.authorization.acls
    topics, groups = (probe.named(rules, kind) for kind in (ResourceType.TOPIC, ResourceType.GROUP))
    try:
        settings = files.read_librdkafka(data[files.LIBRDKAFKA])
        result = await asyncio.to_thread(
            bootstrap.log_in, settings, topics, groups, seconds or LOGIN_SECONDS, seconds or COORDINATOR_SECONDS
        )
    except ValueError as error:
        told = f"Secret {user.secret_name}: {files.LIBRDKAFKA}: {error}; the operator restores it"
        raise CliError(told) from None
    checks += probe.check_logins(result.attempts)
    if any(not attempt.error for attempt in result.attempts):
        checks += probe.check_rules(rules, result)
    return checks


def _certificate(data: dict[str, str]) -> Check:
    try:
        return probe.check_certificate(bootstrap.read_certificate(data[files.CERTIFICATE]), time.time())
    except PkiError as error:
        return Check("CertificateValid", ok=False, evidence=f"{files.CERTIFICATE}: {error}.", remedy="")
