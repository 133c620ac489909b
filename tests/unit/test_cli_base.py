"""What commands are built from: questions, tables, ages, kubeconfigs, logins, completion."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.canned_api import kubeconfig_of
from support.warm_cli import WarmCli

from controlplane.adapters.kubernetes.config import KubeConfigError, find_config, from_kubeconfig
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.cli import ask, render
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import did_you_mean
from controlplane.cli.options import Output
from controlplane.cli.render import Column, View, age, duration, show

KFLEET = Path(sys.executable).parent / "kfleet"
NOW = datetime.fromisoformat("2026-01-02T05:00:00Z").timestamp()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " yes \n"])
def test_yes_is_yes(answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ask.confirm("cancel roll-1", False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "cancel roll-1? [y/N] ")


@pytest.mark.parametrize("answer", ["", "n\n", "no", "yep", "\n"])
def test_anything_else_is_no(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with pytest.raises(CliError, match="nothing was done") as caught:
        ask.confirm("cancel roll-1", False)
    assert caught.value.code is ExitCode.FAILED


def test_without_a_terminal_yes_is_needed_and_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CliError, match="--yes") as caught:
        ask.confirm("x", False)
    assert caught.value.code is ExitCode.USAGE
    ask.confirm("x", True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (12000, "3h20m"),
        (90000, "25h"),
        (900000, "10d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert age("2026-01-02T05:00:00Z", NOW + seconds) == text


def test_an_unknown_age_and_one_in_the_future() -> None:
    assert (age(None, NOW), age("2026-01-02T05:00:09Z", NOW)) == ("-", "0s")


VIEW = View[tuple[str, int]](
    "Thing",
    (Column("name", lambda row: row[0]), Column("count", lambda row: row[1], wide=True)),
    lambda row: f"thing/{row[0]}",
    lambda row: {"name": row[0], "count": row[1]},
)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (Output.table, "NAME\na\nbb\n"),
        (Output.wide, "NAME   COUNT\na      1\nbb     2\n"),
        (Output.name, "thing/a\nthing/bb\n"),
    ],
)
def test_a_list(output: Output, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(output, VIEW, [("a", 1), ("bb", 2)])
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("output", list(Output))
def test_an_empty_list_is_no_data_and_still_a_document(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    show(output, VIEW, [], none="nothing in here")
    shown = capsys.readouterr()
    if output in {Output.json, Output.yaml}:
        assert yaml.safe_load(shown.out) == {"apiVersion": render.JSON_VERSION, "kind": "ThingList", "items": []}
    else:
        assert (shown.out, shown.err) == ("", "nothing in here\n")


def test_the_nearest_names_else_what_there_is() -> None:
    assert did_you_mean("order", ["orders", "payments"]) == "; did you mean orders?"
    assert did_you_mean("x", []) == "; there are none"
    assert did_you_mean("x", ["aaaa", "bbbb"]) == "; there are aaaa, bbbb"
    assert did_you_mean("x", [f"name{n}" for n in range(8)]).endswith(" and 3 more")


def written(path: Path, document: Any) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_kubeconfig_is_the_one_given_then_the_environments_then_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeConfigError, match=r"~/\.kube/config is not there; say --kubeconfig"):
        find_config(None, None)
    (tmp_path / ".kube").mkdir()
    written(tmp_path / ".kube" / "config", kubeconfig_of("http://home"))
    assert find_config(None, None).server == "http://home"
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "env.yaml", kubeconfig_of("http://env"))))
    assert find_config(None, None).server == "http://env"
    given = written(tmp_path / "given.yaml", kubeconfig_of("http://given/"))
    assert find_config(given, None).server == "http://given"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone.yaml"))
    with pytest.raises(KubeConfigError, match=r"gone\.yaml is not there"):
        find_config(None, None)


def test_several_kubeconfigs_are_merged_as_kubectl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that has an entry wins, missing files are passed over, paths are relative to their own file."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "token").write_text("from-b\n")
    first = kubeconfig_of("http://first")
    first["users"] = []
    second = kubeconfig_of("http://second") | {"current-context": "there"}
    second["users"] = [{"name": "u", "user": {"tokenFile": "token"}}]
    second["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "u"}})
    files = [written(tmp_path / "a.yaml", first), tmp_path / "gone.yaml", written(tmp_path / "b" / "b.yaml", second)]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(str(file) for file in files))
    merged = find_config(None, None)
    assert (merged.server, merged.namespace, merged.bearer()) == ("http://first", "kafka", "from-b")
    assert find_config(None, "there").namespace == "default"
    with pytest.raises(KubeConfigError, match="known: here, here, there"):
        find_config(None, "mars")


def test_a_kubeconfig_without_a_current_context_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "k.yaml", {**kubeconfig_of("http://x"), "current-context": ""})
    with pytest.raises(KubeConfigError, match=r"has no current-context \(known: here\); say --context"):
        from_kubeconfig(path)
    assert from_kubeconfig(path, "here").server == "http://x"


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({}, {}, "has no server"),
        ({"server": "https://x", "certificate-authority-data": "@@"}, {}, "context 'here'"),
        ({"server": "https://x", "certificate-authority": "gone.pem"}, {}, r"gone\.pem"),
        ({"server": "https://x"}, {"auth-provider": {"name": "gcp"}}, "needs an auth-provider"),
        ({"server": "https://x"}, {"exec": {"command": "aws"}}, "exec plugin aws speaks None"),
        ({"server": "https://x"}, {"exec": {"apiVersion": "v1"}}, "an exec section without a command"),
        ("words", {}, "is not a mapping"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, cluster: Any, user: Any, says: str) -> None:
    document = kubeconfig_of("http://x")
    document["clusters"][0]["cluster"], document["users"][0]["user"] = cluster, user
    with pytest.raises(KubeConfigError, match=says):
        from_kubeconfig(written(tmp_path / "k.yaml", document))


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    document = kubeconfig_of("https://x:1")
    document["users"][0]["user"] = {"client-certificate-data": "AAAA", "client-key-data": "AAAA"}
    with pytest.raises(KubeConfigError, match="certificates for https://x:1 cannot be used"):
        from_kubeconfig(written(tmp_path / "k.yaml", document)).ssl_context()


PLUGIN = """#!{python}
import json, os, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
count = os.environ["COUNT"]
open(count, "a").write(info["apiVersion"] + " " + " ".join(sys.argv[1:]) + "\\n")
{body}
"""
V1 = "client.authentication.k8s.io/v1"


def plugin(tmp_path: Path, body: str) -> Path:
    """A kubeconfig whose user logs in by a program of its own."""
    file = tmp_path / "login"
    file.write_text(PLUGIN.format(python=sys.executable, body=body))
    file.chmod(0o755)
    document = kubeconfig_of("http://x")
    login = {
        "apiVersion": V1,
        "command": "./login",
        "args": ["--cluster", "c"],
        "env": [{"name": "COUNT", "value": str(tmp_path / "count")}],
        "installHint": "Install it.",
    }
    document["users"][0]["user"] = {"exec": login}
    return written(tmp_path / "k.yaml", document)


def answer(expires: str = "") -> str:
    status = {"token": "secret-1"} | ({"expirationTimestamp": expires} if expires else {})
    return f"print({json.dumps({'apiVersion': V1, 'kind': 'ExecCredential', 'status': status})!r})"


def test_a_login_plugin_is_run_once_until_its_token_is_about_to_expire(tmp_path: Path) -> None:
    lasting = from_kubeconfig(plugin(tmp_path, answer()))
    assert [lasting.bearer() for _ in range(3)] == ["secret-1"] * 3
    assert (tmp_path / "count").read_text().splitlines() == [f"{V1} --cluster c"]
    assert "secret-1" not in repr(lasting)
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    passing = from_kubeconfig(plugin(tmp_path, answer(soon)))
    assert [passing.bearer() for _ in range(2)] == ["secret-1"] * 2
    assert len((tmp_path / "count").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit('you are not logged in')", "ended with 1: you are not logged in"),
        ("print('hello')", "did not print an ExecCredential"),
        ("print('{}')", "did not print an ExecCredential"),
        ("print(json.dumps({'status': {}}))", "neither a token nor a certificate"),
    ],
)
def test_a_login_plugin_that_fails_is_quoted(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(KubeConfigError, match=says):
        from_kubeconfig(plugin(tmp_path, body)).bearer()


def test_a_login_plugin_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    config = from_kubeconfig(plugin(tmp_path, answer()))
    (tmp_path / "login").unlink()
    with pytest.raises(KubeConfigError, match=r"No such file or directory; Install it\."):
        config.bearer()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_program_and_its_variable(shell: str, warm: WarmCli) -> None:
    done = warm.run(["completion", shell], os.environ)
    assert done.returncode == 0
    assert "_KFLEET_COMPLETE" in done.stdout
    assert "kfleet" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


Complete = Callable[..., list[str]]


@pytest.fixture
def complete(warm: WarmCli) -> Complete:
    """What bash would offer for the last word."""

    def complete(*words: str, **environment: str) -> list[str]:
        line = ["kfleet", *words]
        done = warm.run(
            [],
            {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
            | {"_KFLEET_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
            | environment,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


def test_commands_and_options_complete(complete: Complete) -> None:
    assert complete("clu") == ["cluster"]
    assert {"get", "health", "plan"} <= set(complete("cluster", ""))
    assert complete("cluster", "health", "--exit") == ["--exit-when-healthy"]


def test_a_name_that_nobody_can_tell_is_no_completion_and_no_noise(complete: Complete, tmp_path: Path) -> None:
    nowhere = written(tmp_path / "k.yaml", kubeconfig_of("http://127.0.0.1:1"))
    assert complete("cluster", "health", "", KUBECONFIG=str(nowhere)) == []
    assert complete("cluster", "health", "", KUBECONFIG=str(tmp_path / "gone")) == []


def test_a_dead_network_does_not_hold_up_the_tab_key(complete: Complete, tmp_path: Path) -> None:
    """A lookup that would wait an hour is ended: nothing is measured, since a busy machine may take any time for it."""
    import socket

    from controlplane.cli.completion_names import LOOKUP_SECONDS

    patient = (
        "import functools, types; from controlplane.cli import completion_lookup as lookup, completion_names as names; "
        "lookup.connect = functools.partial(lookup.connect, timeout=3600); "
        "names.cluster_names(types.SimpleNamespace(params={}), ''); print('it answered')"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = written(tmp_path / "k.yaml", kubeconfig_of(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert complete("cluster", "health", "", KUBECONFIG=str(path)) == []
        environment = os.environ | {"KUBECONFIG": str(path)}
        done = subprocess.run(
            [sys.executable, "-c", patient], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert LOOKUP_SECONDS <= 1.0


def test_kubectl_finds_it_as_a_plugin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from controlplane.cli import main

    monkeypatch.setattr(sys, "argv", ["kubectl-kfleet", "cluster"])
    with pytest.raises(SystemExit) as caught:
        main.kubectl_main()
    assert caught.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("Usage: kubectl kfleet cluster [OPTIONS]")


@pytest.mark.parametrize("addressing", ["PodIP", "DNS"])
def test_an_installations_settings_are_read_back_from_its_pods(addressing: Any) -> None:
    from support import cli_fleet

    from controlplane.domain.cluster.layout import lay_out
    from controlplane.domain.cluster.manifests import POD_TEMPLATE, Placement, config_map
    from controlplane.domain.cluster.placed import placement_seen

    placement = Placement("registry.example/k/", addressing, 77, 9)
    cluster = KafkaCluster.model_validate(cli_fleet.cluster("calm"))
    layout = lay_out(cluster, (), {}, formed=False, known_ids=frozenset())
    pods = [json.loads(config_map(cluster, wanted, layout, placement)["data"][POD_TEMPLATE]) for wanted in layout.nodes]
    for pod in pods:
        pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert placement_seen(pods) == placement
    younger = json.loads(json.dumps(pods[0]))
    younger["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    younger["spec"]["terminationGracePeriodSeconds"] = 5
    seen = placement_seen([younger, *pods])
    assert seen is not None
    assert seen.stop_grace_seconds == 5
    assert placement_seen([]) is None


def test_brokers_that_do_not_answer_from_here_are_named() -> None:
    from controlplane.cli.cluster_observe import why_silent
    from controlplane.domain.observation import ClusterObservation, NodeObservation, PodObservation, Role

    def seen(*, ready: bool) -> ClusterObservation:
        pod = PodObservation("p", "u", "1", "h", "4.2.0", "10.0.0.7", "a", True, ready, False)
        broker = NodeObservation(0, "nodes", frozenset({Role.BROKER}), pod)
        return ClusterObservation(as_of=0.0, namespace="n", name="x", nodes=(broker,))

    assert why_silent(seen(ready=True)) == "no broker answers from here within 5 s (10.0.0.7:9091)"
    assert why_silent(seen(ready=False)) == "no broker's pod is ready, so none was asked"


def test_output_that_has_no_room_or_no_reader() -> None:
    full = subprocess.run(["bash", "-c", f"{KFLEET} version > /dev/full"], capture_output=True, text=True, check=False)
    assert (full.returncode, full.stderr) == (1, "kfleet: No space left on device\n")
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {KFLEET} explain -o json | head -c 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (piped.returncode, piped.stderr) == (0, "")
