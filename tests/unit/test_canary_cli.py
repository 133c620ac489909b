"""How a canary is told who it is: by a file that the operator wrote, and by nothing that others see."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from controlplane import bootstrap
from controlplane.adapters.kafka.canary_writer import client_config
from controlplane.cli.canary import app
from controlplane.domain.accounting import CanaryResult, account
from controlplane.domain.canary import CanaryOptions

PASSWORD = "a-password-that-nobody-may-see"
LOGIN = {
    "bootstrap.servers": "b-0:9093,b-1:9093",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "orders-app",
    "sasl.password": PASSWORD,
    "ssl.ca.pem": "CA",
    "ssl.endpoint.identification.algorithm": "https",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[CanaryOptions]:
    """What canaries were begun with; none of them runs."""
    found: list[CanaryOptions] = []

    def begun(options: CanaryOptions, *_: Any, **__: Any) -> CanaryResult:
        found.append(options)
        return CanaryResult(
            account=account([], warm_up_s=0), complete=True, why="", worst_pause_ms=0, clients_replaced=0
        )

    monkeypatch.setattr(bootstrap, "canary", begun)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["run", "--topic", "orders", "--journal", "j", *arguments])


@pytest.mark.parametrize("mounted", [True, False], ids=["the Secret's directory", "its file"])
def test_it_logs_in_with_what_the_operator_wrote(tmp_path: Path, asked: list[CanaryOptions], *, mounted: bool) -> None:
    file = tmp_path / "librdkafka.json"
    file.write_text(json.dumps(LOGIN))
    done = run("--config", str(tmp_path if mounted else file))
    assert done.exit_code == 0, done.output
    (options,) = asked
    assert (options.bootstrap, options.protocol) == (LOGIN["bootstrap.servers"], "SASL_SSL")
    config = client_config(options, print)
    assert config.items() >= LOGIN.items()
    assert config["client.id"].startswith("kfleet-canary-")
    assert PASSWORD not in f"{done.output}{options!r}{options}"


def test_other_servers_may_be_named(tmp_path: Path, asked: list[CanaryOptions]) -> None:
    (tmp_path / "librdkafka.json").write_text(json.dumps(LOGIN))
    assert run("--config", str(tmp_path), "--bootstrap", "other:9093").exit_code == 0
    assert client_config(asked[0], print)["bootstrap.servers"] == "other:9093"


def test_without_a_login_it_speaks_plaintext(asked: list[CanaryOptions]) -> None:
    assert run("--bootstrap", "b:9092").exit_code == 0
    assert (asked[0].protocol, dict(asked[0].login)) == ("PLAINTEXT", {})
    assert not [key for key in client_config(asked[0], print) if key.startswith(("sasl.", "ssl.", "security."))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sasl.password=" + PASSWORD, "it is no JSON object"),
        (json.dumps([PASSWORD]), "it is no JSON object"),
        (json.dumps(LOGIN | {"plugin.library.paths": PASSWORD}), "'plugin.library.paths' is not among"),
        (json.dumps(LOGIN | {"sasl.mechanism": PASSWORD}), "the value of 'sasl.mechanism' is not one"),
        (json.dumps({"sasl.password": PASSWORD}), "it has no 'bootstrap.servers'"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_is_none_is_named_and_not_quoted(
    tmp_path: Path, asked: list[CanaryOptions], text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / "librdkafka.json").write_text(text)
    done = run("--config", str(tmp_path))
    assert (done.exit_code, asked) == (2, [])
    words = " ".join(done.output.replace("│", " ").split())
    assert says in words
    assert "--config" in words
    assert PASSWORD not in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--config FILE, or --bootstrap"),
        (["--config", "/nonexistent"], "does not exist"),
        (["--bootstrap", "nonsense"], "is not HOST:PORT"),
    ],
)
def test_where_the_cluster_is_has_to_be_said(asked: list[CanaryOptions], arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, asked) == (2, [])
    assert says in " ".join(done.output.replace("│", " ").split())
