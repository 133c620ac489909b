"""SCRAM credentials (KIP-554), ACLs (KIP-140, KIP-290) and client quotas (KIP-546) as requests and answers. No I/O.

A salted password is as good as the password itself to whoever has it and its salt: requests that carry one are never
logged, put into a message or kept.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka.protocol.admin import (
    AlterClientQuotasRequest,
    AlterUserScramCredentialsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    DescribeAclsRequest,
    DescribeClientQuotasRequest,
    DescribeUserScramCredentialsRequest,
)

from controlplane.adapters.kafka.errors import check, of_code
from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.ports import KafkaError

Results = dict[str, KafkaError | None]

SCRAM_SHA_512 = 2
"""ScramMechanism of Kafka."""
SALT_BYTES = 32
RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
ANY = 1
"""In a filter of ACLs: whatever the value is."""
USER = "user"
EXACT, ANY_NAMED = 0, 2
"""DescribeClientQuotasRequest's MatchType."""

RESOURCES = {2: "topic", 3: "group", 4: "cluster", 5: "transactionalId", 6: "delegationToken", 7: "user"}
"""ResourceType of Kafka."""
PATTERNS = {3: "literal", 4: "prefixed"}
"""PatternType of Kafka."""
PERMISSIONS = {2: "deny", 3: "allow"}
"""AclPermissionType of Kafka."""
OPERATIONS = {
    2: "All",
    3: "Read",
    4: "Write",
    5: "Create",
    6: "Delete",
    7: "Alter",
    8: "Describe",
    9: "ClusterAction",
    10: "DescribeConfigs",
    11: "AlterConfigs",
    12: "IdempotentWrite",
    13: "CreateTokens",
    14: "DescribeTokens",
    15: "TwoPhaseCommit",
}
"""AclOperation of Kafka."""
_UNKNOWN = "unknown-"


def describe_scram(users: Sequence[str] | None) -> Any:
    name = DescribeUserScramCredentialsRequest.UserName
    return DescribeUserScramCredentialsRequest(users=None if users is None else [name(name=user) for user in users])


def scram_iterations(answer: Any) -> dict[str, int]:
    """Iterations of each user's SCRAM-SHA-512 credential; users without one are absent."""
    check(answer.error_code, answer.error_message)
    found = {}
    for result in answer.results:
        error = of_code(result.error_code, result.error_message)
        if error is not None and error.code != RESOURCE_NOT_FOUND:
            raise error
        for info in result.credential_infos or ():
            if info.mechanism == SCRAM_SHA_512:
                found[result.user] = info.iterations
    return found


def salted(passwords: Iterable[ScramPassword]) -> list[Any]:
    """Each with a salt of its own (RFC 5802's SaltedPassword). Some milliseconds a password: not for an event loop."""
    return [_salted(one, secrets.token_bytes(SALT_BYTES)) for one in passwords]


def _salted(one: ScramPassword, salt: bytes) -> Any:
    secret = one.password.get_secret_value().encode()
    return AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
        name=one.user,
        mechanism=SCRAM_SHA_512,
        iterations=one.iterations,
        salt=salt,
        salted_password=hashlib.pbkdf2_hmac("sha512", secret, salt, one.iterations),
    )


def upsert_scram(upsertions: Iterable[Any]) -> Any:
    return AlterUserScramCredentialsRequest(deletions=[], upsertions=list(upsertions))


def delete_scram(users: Iterable[str]) -> Any:
    deletion = AlterUserScramCredentialsRequest.ScramCredentialDeletion
    return AlterUserScramCredentialsRequest(
        deletions=[deletion(name=user, mechanism=SCRAM_SHA_512) for user in users], upsertions=[]
    )


def scram_altered(answer: Any) -> Results:
    return {result.user: of_code(result.error_code, result.error_message) for result in answer.results}


def describe_acls() -> Any:
    """All of them: the one question that does not grow with the number of principals."""
    return DescribeAclsRequest(
        resource_type_filter=ANY,
        resource_name_filter=None,
        pattern_type_filter=ANY,
        principal_filter=None,
        host_filter=None,
        operation=ANY,
        permission_type=ANY,
    )


def acls(answer: Any) -> frozenset[Acl]:
    check(answer.error_code, answer.error_message)
    return frozenset(
        Acl(
            principal=entry.principal,
            resource=_word(RESOURCES, resource.resource_type),
            name=resource.resource_name,
            pattern=_word(PATTERNS, resource.pattern_type),
            operation=_word(OPERATIONS, entry.operation),
            permission=_word(PERMISSIONS, entry.permission_type),
            host=entry.host,
        )
        for resource in answer.resources
        for entry in resource.acls
    )


def create_acls(wanted: Iterable[Acl]) -> Any:
    creation = CreateAclsRequest.AclCreation
    return CreateAclsRequest(
        creations=[
            creation(
                resource_type=_code(RESOURCES, one.resource),
                resource_name=one.name,
                resource_pattern_type=_code(PATTERNS, one.pattern),
                principal=one.principal,
                host=one.host,
                operation=_code(OPERATIONS, one.operation),
                permission_type=_code(PERMISSIONS, one.permission),
            )
            for one in wanted
        ]
    )


def acls_created(answer: Any, wanted: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
    return {
        one: of_code(result.error_code, result.error_message)
        for one, result in zip(wanted, answer.results, strict=True)
    }


def delete_acls(unwanted: Iterable[Acl]) -> Any:
    """Exactly these: each filter names everything, so that it matches one binding or none."""
    filter_ = DeleteAclsRequest.DeleteAclsFilter
    return DeleteAclsRequest(
        filters=[
            filter_(
                resource_type_filter=_code(RESOURCES, one.resource),
                resource_name_filter=one.name,
                pattern_type_filter=_code(PATTERNS, one.pattern),
                principal_filter=one.principal,
                host_filter=one.host,
                operation=_code(OPERATIONS, one.operation),
                permission_type=_code(PERMISSIONS, one.permission),
            )
            for one in unwanted
        ]
    )


def acls_deleted(answer: Any, unwanted: Sequence[Acl]) -> dict[Acl, KafkaError | None]:
    """One that was not there is no error."""
    found: dict[Acl, KafkaError | None] = {}
    for one, result in zip(unwanted, answer.filter_results, strict=True):
        codes = [(result.error_code, result.error_message)]
        codes += [(match.error_code, match.error_message) for match in result.matching_acls]
        found[one] = next((error for code, text in codes if (error := of_code(code, text))), None)
    return found


def describe_user_quotas() -> Any:
    """Of all users that have quotas of their own; strict leaves out those of a user with a client id."""
    component = DescribeClientQuotasRequest.ComponentData
    return DescribeClientQuotasRequest(
        components=[component(entity_type=USER, match_type=ANY_NAMED, match=None)], strict=True
    )


def user_quotas(answer: Any) -> dict[str, dict[str, float]]:
    """Quota values by user, by Kafka's key."""
    check(answer.error_code, answer.error_message)
    found = {}
    for entry in answer.entries or ():
        names = {part.entity_type: part.entity_name for part in entry.entity}
        if names.keys() == {USER} and names[USER] is not None:
            found[str(names[USER])] = {value.key: float(value.value) for value in entry.values}
    return found


def alter_user_quotas(changes: Mapping[str, Mapping[str, float | None]]) -> Any:
    """Incremental (KIP-546): None removes a key."""
    entry = AlterClientQuotasRequest.EntryData
    return AlterClientQuotasRequest(
        entries=[
            entry(
                entity=[entry.EntityData(entity_type=USER, entity_name=user)],
                ops=[
                    entry.OpData(key=key, value=0.0 if value is None else value, remove=value is None)
                    for key, value in wanted.items()
                ],
            )
            for user, wanted in changes.items()
        ],
        validate_only=False,
    )


def quotas_altered(answer: Any) -> Results:
    return {
        part.entity_name: of_code(entry.error_code, entry.error_message)
        for entry in answer.entries
        for part in entry.entity
        if part.entity_type == USER
    }


def _word(table: Mapping[int, str], code: int) -> str:
    return table.get(code, f"{_UNKNOWN}{code}")


def _code(table: Mapping[int, str], word: str) -> int:
    """The inverse of `_word`. Raises ValueError for what is no word of Kafka's."""
    if word.startswith(_UNKNOWN) and word.removeprefix(_UNKNOWN).isdecimal():
        return int(word.removeprefix(_UNKNOWN))
    known = {name: code for code, name in table.items()}
    if word not in known:
        raise ValueError(f"{word!r} is none of {', '.join(known)}")
    return known[word]
