"""The search for secrets is shown to find them, in the forms that they could take, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doors import HOUR, pki
from support.hidden import Hidden
from support.leaks import key_lines, leaks, metadata, of_objects

PASSWORD = "hvZ0-2Xw_7bq3-KcR9tYJd1LpGm5sE8a"
around = st.binary(max_size=90)


@given(before=around, after=around)
def test_what_is_in_base64_is_found_wherever_it_begins(before: bytes, after: bytes) -> None:
    body = base64.b64encode(before + PASSWORD.encode() + after).decode()
    found = leaks([("body", f'{{"data":{{"file":"{body}"}}}}')], [PASSWORD])
    assert found == ["body"]


@given(text=st.text(max_size=200), data=st.binary(max_size=200))
def test_control_nothing_else_is(text: str, data: bytes) -> None:
    other = PASSWORD[::-1]
    where = [("text", text), ("body", base64.b64encode(data).decode()), ("other", other), ("cut", PASSWORD[:-1])]
    found = leaks(where, [PASSWORD])
    assert found == []


@pytest.mark.parametrize("secret", [PASSWORD, "a pass word, with {signs}"])
@pytest.mark.parametrize("form", ["--password={}", "{}", 'x="{}",', "a\n{}\nb", "abc{}def"])
def test_what_is_written_as_it_is_is_found(secret: str, form: str) -> None:
    found = leaks([("here", form.replace("{}", secret)), ("nowhere", form)], [secret, "of-somebody-else-entirely-0123"])
    assert found == ["here"]


def test_a_private_key_is_found_in_the_body_of_its_secret() -> None:
    """Whole, and when it stands behind a certificate in one file, as nodes have it."""
    pair = pki.make_authority("x", HOUR)
    files = {"ca.key": pair.key, "node.pem": pair.certificate + pair.key, "ca.crt": pair.certificate}
    where = [
        (name, json.dumps({"data": {name: base64.b64encode(pem.encode()).decode()}})) for name, pem in files.items()
    ]
    found = leaks(where, key_lines(pair.key))
    assert found == ["ca.key", "node.pem"]


def test_a_search_for_nothing_is_none() -> None:
    with pytest.raises(AssertionError, match="no secret"):
        leaks([("here", "text")], [])


def test_of_secrets_all_but_their_data_is_looked_at_and_of_the_rest_every_kind() -> None:
    secret = {"metadata": {"name": "app", "annotations": {"note": PASSWORD}}, "data": {"password": "c2VjcmV0"}}
    listed = json.dumps({"items": [secret | {"stringData": {"password": "plain"}}]})
    kinds = ["secrets", "events", "configmaps", "kafkausers.kfleet.dev", "approvals.kfleet.dev", "things.example.com"]
    asked: list[tuple[str, ...]] = []

    def kubectl(*arguments: str) -> str:
        asked.append(arguments)
        return "\n".join(kinds) if arguments[0] == "api-resources" else listed

    found = dict(of_objects(kubectl))
    assert (
        json.loads(found["metadata of Secrets"]) == [{"metadata": secret["metadata"]}] == json.loads(metadata(listed))
    )
    whole = [arguments[1].split(",") for arguments in asked if arguments[-1] == "yaml"]
    assert whole == [sorted(set(kinds) - {"secrets"})]
    assert all("--all-namespaces" in arguments for arguments in asked if arguments[0] == "get")


def test_what_holds_secrets_does_not_show_them() -> None:
    shown = repr(Hidden(user="app", password=PASSWORD) | {"acks": "all"})
    assert shown == "<user, password, acks>"
