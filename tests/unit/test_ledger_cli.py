"""`kfleet audit` on a real SQLite ledger: what it prints, where, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.ledgers import HASH, T0, approval, ended, event, operation, record

from controlplane.adapters.ledger.writer import SqlLedger
from controlplane.cli.main import run


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger with two operations, an approval and a cancellation; KFLEET_LEDGER_URL names it."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = SqlLedger(url, timeout=30, migrate=True)
    ledger.record_event(event())
    ledger.record_approval(approval())
    ledger.record_operation(record(ended(operation(entries=2, approval="ok-approval-1"), at=T0 + 9)))
    other = operation("roll-1-zz", entries=1, started=T0 + 100, plan_hash="")
    ledger.record_operation(record(other, uid="uid-2", cell="kafka/other"))
    ledger.close()
    monkeypatch.setenv("KFLEET_LEDGER_URL", url)
    return url


def kfleet(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_list(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = kfleet(capsys, "audit", "list")
    assert (code, err) == (0, "")
    assert out == (
        "AT                     ACTOR    ACTION                  SUBJECT                     OPERATION   OUTCOME\n"
        "2023-11-14T22:15:01Z   kfleet   ReplacePod 1 (step 1)   KafkaCluster kafka/other    roll-1-zz   Done\n"
        "2023-11-14T22:15:00Z   kfleet   Begin                   KafkaCluster kafka/other    roll-1-zz   -\n"
        "2023-11-14T22:13:29Z   kfleet   End                     KafkaCluster kafka/orders   roll-3-ab   Succeeded\n"
        "2023-11-14T22:13:22Z   kfleet   ReplacePod 2 (step 2)   KafkaCluster kafka/orders   roll-3-ab   Done\n"
        "2023-11-14T22:13:21Z   kfleet   ReplacePod 1 (step 1)   KafkaCluster kafka/orders   roll-3-ab   Done\n"
        "2023-11-14T22:13:20Z   kfleet   Begin                   KafkaCluster kafka/orders   roll-3-ab   -\n"
        "2023-11-14T22:12:20Z   bob      Approve                 KafkaCluster kafka/orders   roll-3-ab   -\n"
        "2023-11-14T22:11:50Z   alice    Cancel                  KafkaCluster kafka/orders   roll-3-ab   -\n"
    )


def test_pages_and_filters(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = kfleet(capsys, "audit", "list", "--limit", "3", "-o", "name")
    assert (code, out) == (0, "step-3\nbegin-2\nend-1\n")
    assert err == "kfleet: there are older ones: --before end-1\n"
    queries = (
        ["--before", "end-1", "--limit", "2"],
        ["--actor", "bob"],
        ["--cell", "kafka/other"],
        ["--operation", "roll-3-ab", "--until", "2023-11-14T22:13:00Z"],
        ["--since", "2023-11-14T22:15:01+00:00"],
    )
    names = [kfleet(capsys, "audit", "list", "-o", "name", *query)[1].split() for query in queries]
    assert names == [
        ["step-2", "step-1"],
        ["approval-1"],
        ["step-3", "begin-2"],
        ["approval-1", "event-1"],
        ["step-3"],
    ]
    code, out, err = kfleet(capsys, "audit", "list", "--since", "7d")
    assert (code, out, err) == (0, "", "nothing of that kind is in the ledger\n")


def test_documents(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = kfleet(capsys, "audit", "list", "--actor", "bob", "-o", "json")
    wanted = {
        "apiVersion": "cli.kfleet.dev/v1",
        "kind": "AuditEntryList",
        "items": [
            {
                "id": "approval-1",
                "at": "2023-11-14T22:12:20Z",
                "actor": "bob",
                "action": "Approve",
                "subject": "KafkaCluster kafka/orders",
                "cell": "kafka/orders",
                "operation": "roll-3-ab",
                "outcome": "",
                "message": "looks good",
                "detail": {"approval": "kafka/ok-approval-1", "planHash": HASH},
            }
        ],
    }
    assert json.loads(out) == wanted
    _, out, _ = kfleet(capsys, "audit", "list", "--actor", "bob", "-o", "yaml")
    assert yaml.safe_load(out) == wanted


def test_show(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = kfleet(capsys, "audit", "show", "roll-3-ab")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "Operation: roll-3-ab"
    assert "Ended:     2023-11-14T22:13:29Z, Succeeded: done" in out
    assert [line.split()[2] for line in out.splitlines()[11:]] == [
        *("Cancel", "Approve", "Begin", "ReplacePod", "ReplacePod", "End")
    ]
    _, out, _ = kfleet(capsys, "audit", "show", "roll-1-zz", "-o", "json")
    found = json.loads(out)
    assert found["kind"] == "AuditHistory"
    assert found["operation"]["outcome"] is None
    assert found["operation"]["startedAt"] == "2023-11-14T22:15:00Z"
    assert [entry["id"] for entry in found["entries"]] == ["begin-2", "step-3"]
    code, out, _ = kfleet(capsys, "audit", "show", "event-1")
    assert code == 0
    assert out.splitlines()[-1].split() == ["why:", "on", "call"]


def test_export(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = kfleet(capsys, "audit", "export")
    assert (code, err) == (0, "kfleet: 8 entries\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["id"] for line in lines][:3] == ["event-1", "approval-1", "begin-1"]
    assert {line["apiVersion"] for line in lines} == {"cli.kfleet.dev/v1"}

    target = tmp_path / "out.jsonl"
    code, nothing, err = kfleet(capsys, "audit", "export", "-f", str(target))
    assert (code, nothing, err) == (0, "", f"kfleet: 8 entries in {target}\n")
    assert target.read_text() == out
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_export_is_whole_or_not_there(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from controlplane.adapters.ledger import reader

    target = tmp_path / "out" / "all.jsonl"
    target.parent.mkdir()
    target.write_text("what was there\n")
    monkeypatch.setattr(reader, "PAGE", 3)
    real, pages = reader._entries, []

    def breaks(*arguments: object, **options: object) -> object:
        pages.append(1)
        if len(pages) == 3:
            raise OSError(5, "Input/output error")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "_entries", breaks)
    code, out, err = kfleet(capsys, "audit", "export", "-f", str(target))
    assert (code, out) == (1, "")
    assert "Input/output error" in err
    assert err.count("\n") == 1
    assert target.read_text() == "what was there\n"
    assert list(target.parent.iterdir()) == [target]


def test_upgrade(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/new/ledger.db"
    code, _, err = kfleet(capsys, "audit", "list", "--ledger", url)
    assert code == 1
    assert "`kfleet audit upgrade` makes one" in err
    code, _, err = kfleet(capsys, "audit", "upgrade", "--ledger", url)
    assert code == 2
    assert not (tmp_path / "new").exists()
    code, out, err = kfleet(capsys, "audit", "upgrade", "--ledger", url, "--yes")
    assert (code, out) == (0, "")
    assert "schema none becomes 0001" in err
    assert kfleet(capsys, "audit", "upgrade", "--ledger", url)[::2] == (
        0,
        f"kfleet: the ledger at {tmp_path}/new/ledger.db has schema 0001; nothing to do\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["list", "--ledger", ""], 2, "which ledger? Set KFLEET_LEDGER_URL"),
        (["list", "--ledger", "postgresql://u:s3cr3t@127.0.0.1:1/l"], 1, "Connection refused"),
        (["list", "--ledger", "postgresql://u:s3cr3t@127.0.0.1:s3cr3t/l"], 1, "cannot be read"),
        (["list", "--ledger", "mysql://u:s3cr3t@db/l"], 1, "names neither"),
        (["list", "--since", "yesterday"], 2, "neither like 90m"),
        (["list", "--cell", "orders"], 2, "NAMESPACE/NAME"),
        (["list", "--before", "step-99"], 1, "no entry 'step-99'"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["show", "roll-9-xx"], 1, "no operation and no entry 'roll-9-xx'"),
        (["show", "step-99999999999999999999999"], 1, "no operation and no entry"),
        (["export", "-f", "/nowhere/at/all.jsonl"], 1, "No such file or directory"),
        (["upgrade", "--ledger", "postgresql://u:s3cr3t@127.0.0.1:1/l", "--yes"], 1, "Connection refused"),
    ],
)
def test_what_goes_wrong_is_one_line(
    url: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    found, out, err = kfleet(capsys, "audit", *arguments)
    assert (found, out) == (code, ""), err
    assert words in err
    assert err.count("\n") == 1
    assert "s3cr3t" not in err
