"""Every interval, limit and name that an installation may change. Environment variables, prefix KFLEET_.

Durations are seconds. Tests shorten intervals here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY = 86_400.0


class OperatorSettings(BaseSettings):
    """Settings of one operator process (`kfleet-operator`), read from KFLEET_*."""

    model_config = SettingsConfigDict(env_prefix="KFLEET_", extra="ignore", hide_input_in_errors=True)

    namespace: str = Field("kfleet", description="Where the operator's own Lease lives.")
    watch_namespaces: list[str] = Field(default_factory=list, description="Namespaces to reconcile; empty means all.")
    lease_name: str = Field("kfleet-operator", description="Name of the Lease that makes one operator the active one.")
    identity: str = Field("", description="Lease holder identity; the pod's name by default.")
    lease_duration: float = Field(15.0, gt=0, description="A holder silent for this long loses the Lease.")
    lease_renew_interval: float = Field(5.0, gt=0)
    cell_lock_duration: float = Field(30.0, gt=0, description="A holder of a cell silent for this long loses it.")
    ledger_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL of the ledger, such as postgresql+psycopg://...; empty: none is kept.",
    )
    ledger_timeout: float = Field(5.0, gt=0, description="Deadline of one call to the ledger.")
    ledger_retry: float = Field(5.0, gt=0, description="Pause before the ledger is tried again after a failure.")
    ledger_retention_days: float = Field(
        400.0, gt=0, le=36_500, description="What is older than this leaves the ledger."
    )
    ledger_sweep_interval: float = Field(3600.0, gt=0, description="How often that is looked at.")
    kubeconfig: Path | None = Field(None, description="Outside a pod: the kubeconfig to use.")
    pod_root: str = Field("", description="Prefix of every absolute path inside a pod; empty in a real container.")
    addressing: Literal["PodIP", "DNS"] = Field("DNS", description="PodIP only where addresses stick to pod names.")
    image_prefix: str = Field("kfleet/", description="Images are <prefix>kafka:<version>.")
    resync_interval: float = Field(30.0, gt=0, description="Every object is looked at again after this long.")
    busy_interval: float = Field(1.0, gt=0, description="Pause between passes while something is under way.")
    settle_interval: float = Field(0.2, gt=0, description="Pause after an action before the world is observed again.")
    probe_period: int = Field(5, ge=1, description="periodSeconds of the readiness probe of Kafka pods.")
    status_interval: float = Field(10.0, gt=0, description="A status that changed in its words only waits this long.")
    retry_min: float = Field(0.5, gt=0, description="First back-off after a failed pass.")
    retry_max: float = Field(30.0, gt=0, description="Longest back-off after failed passes.")
    workers: int = Field(4, ge=1, description="Reconcile passes at the same time; never two for one cluster.")
    topic_batch_delay: float = Field(0.2, ge=0, description="How long topic changes wait for company, to go in bulk.")
    kafka_timeout: float = Field(10.0, gt=0, description="Deadline of one Kafka admin call.")
    kafka_threads: int = Field(8, ge=1, description="Threads for blocking Kafka clients.")
    kube_timeout: float = Field(15.0, gt=0, description="Deadline of one Kubernetes API call.")
    voter_caught_up_seconds: float = Field(2.0, gt=0, description="A voter that fetched this recently is caught up.")
    learn_seconds: float = Field(30.0, gt=0, description="Clients are watched for this long before an upgrade begins.")
    learn_longest: float = Field(60.0, gt=0, description="An upgrade waits no longer than this for what clients feel.")
    broker_bandwidth: int = Field(
        100 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes a second that a broker can copy when it does nothing else.",
    )
    delay_interval: float = Field(
        2.0, gt=0, le=5, description="How often each broker is asked how long requests wait, where load may be shed."
    )
    planning_timeout: float = Field(
        600.0, gt=0, description="How long one plan may take, of a rebalance or of a cell's tenants."
    )
    rebalance_history: int = Field(
        3,
        ge=1,
        le=100,
        description="How many finished KafkaRebalances are kept of those made for one tenant in a cell.",
    )
    growth_seconds: float = Field(
        2.0, gt=0, description="How long it is watched what is written, for a throttle of Auto."
    )
    usage_interval: float = Field(
        300.0, gt=0, description="How often it is measured how much tenants keep on the brokers' disks."
    )
    authority_lifetime: float = Field(3650 * DAY, gt=0, description="How long an authority made from now on is valid.")
    authority_renew_before: float = Field(
        400 * DAY, gt=0, description="How long before its end an authority is followed by another."
    )
    authority_overlap: float = Field(
        7 * DAY, gt=0, description="How long both authorities are trusted before, and after, the new one signs."
    )
    certificate_lifetime: float = Field(365 * DAY, gt=0, description="How long a node's certificate is valid.")
    certificate_renew_before: float = Field(120 * DAY, gt=0, description="How long before its end it is renewed.")
    certificate_restart_before: float = Field(
        60 * DAY, gt=0, description="A node that was started with one that ends within this is restarted."
    )
    certificate_warn_before: float = Field(30 * DAY, gt=0, description="A certificate that ends within this is told.")
    user_certificate_lifetime: float = Field(
        90 * DAY, ge=60, description="How long a user's certificate is valid; it is renewed after two thirds of that."
    )
    stop_grace: int = Field(120, ge=1, description="terminationGracePeriodSeconds of Kafka pods.")
    health_port: int = Field(8080, ge=0, description="/healthz and /readyz; 0 turns them off.")
    health_host: str = Field("0.0.0.0", description="Address of /healthz and /readyz.")  # noqa: S104 - probes come from the node
    log_format: Literal["json", "text"] = "json"
    log_level: str = "INFO"

    def watches(self, namespace: str) -> bool:
        """Whether objects of this namespace are reconciled."""
        return not self.watch_namespaces or namespace in self.watch_namespaces

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.lease_renew_interval * 2 > self.lease_duration:
            raise ValueError("KFLEET_LEASE_RENEW_INTERVAL must be at most half of KFLEET_LEASE_DURATION")
        return self

    @model_validator(mode="after")
    def _certified_in_time(self) -> Self:
        if not self.certificate_restart_before < self.certificate_renew_before < self.certificate_lifetime:
            raise ValueError(
                "KFLEET_CERTIFICATE_RESTART_BEFORE must be less than KFLEET_CERTIFICATE_RENEW_BEFORE, and that less "
                "than KFLEET_CERTIFICATE_LIFETIME"
            )
        if not self.authority_renew_before < self.authority_lifetime:
            raise ValueError("KFLEET_AUTHORITY_RENEW_BEFORE must be less than KFLEET_AUTHORITY_LIFETIME")
        return self

    @model_validator(mode="after")
    def _learned_in_time(self) -> Self:
        if self.learn_longest < self.learn_seconds:
            raise ValueError("KFLEET_LEARN_LONGEST must be at least KFLEET_LEARN_SECONDS")
        return self
