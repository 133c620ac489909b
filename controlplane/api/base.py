"""What all custom resource models share: camelCase in YAML, snake_case in Python, frozen, unknown fields ignored.

Unknown fields are ignored on reading because a newer CRD may hold fields that this version does not know; refusing
them on writing is the API server's part (fieldValidation=Strict, which is kubectl's default).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

JsonObject = dict[str, Any]


class ApiModel(BaseModel):
    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore"
    )

    def to_object(self) -> JsonObject:
        """As the API server wants it: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Metadata(ApiModel):
    """The part of ObjectMeta that kfleet reads. Not part of a CRD's schema."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


CamelCase = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z]([A-Za-z0-9]*)?$")]
"""A reason or a state, for programs to compare."""

Timestamp = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC."""
