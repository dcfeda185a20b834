"""What becomes of Ansible's events, of its end, and of a signal: Ansible itself is a stand-in."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from preflight.fleet import playbook_runner
from preflight.fleet.playbook_runner import FleetHostAnswer, run_playbook
from preflight.model.problems import InputError

REQUEST = {"seconds": 1.0}
HOSTS = {"hosts": ["a", "b"]}
Ansible = Callable[..., None]


def event(host: str, task: str, **result: Any) -> dict[str, Any]:
    return {"host": host, "task": task, "status": "ok", "result": result}


MEASURED = event("a", "measure", rc=0, stdout="{}")


@pytest.fixture
def ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ansible:
    """A function that says what ansible-playbook, which lies beside Python, does."""
    interpreter = sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def be(*events: dict[str, Any], output: str = "", code: int = 0, seconds: int = 0) -> None:
        program = tmp_path / "ansible-playbook"
        program.write_text(
            f"#!{interpreter}\nimport json, os, sys, time\n"
            f"with open(int(os.environ['PREFLIGHT_EVENTS_FD']), 'w') as events:\n"
            f"    for event in {events!r}:\n"
            f"        print(json.dumps(event), file=events, flush=True)\n"
            f"    time.sleep({seconds})\n"
            f"sys.exit(print({output!r}) or {code})\n"
        )
        program.chmod(0o755)

    return be


def test_events_become_answers(ansible: Ansible) -> None:
    refused = {**event("b", "measure", msg="Connection refused"), "status": "unreachable"}
    ansible(HOSTS, event("a", "vars", msg={"x": 1}), MEASURED, refused, code=4)
    progress: list[tuple[int, int]] = []
    answers = run_playbook([], REQUEST, b"", lambda *numbers: progress.append(numbers))
    assert answers.hosts == {
        "a": FleetHostAnswer("{}"),
        "b": FleetHostAnswer(failure="unreachable: connection refused"),
    }
    assert (answers.vars, answers.signal) == ({"a": {"x": 1}}, 0)
    assert progress == [(0, 2), (0, 2), (1, 2), (2, 2)]


def test_removing(ansible: Ansible) -> None:
    ansible(HOSTS, event("a", "remove", rc=0, stdout="/home/a"), event("b", "remove", rc=0))
    answers = run_playbook([], REQUEST, b"", lambda *_: None)
    assert [answer.output for answer in answers.hosts.values()] == ["/home/a", ""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_ansible_and_keeps_what_has_come(ansible: Ansible, number: int) -> None:
    ansible(HOSTS, MEASURED, seconds=60)

    def interrupt(done: int, _: int) -> None:
        if done:
            signal.raise_signal(number)

    before, children = signal.getsignal(number), psutil.Process().children()
    answers = run_playbook([], REQUEST, b"", interrupt)
    assert answers.hosts == {
        "a": FleetHostAnswer("{}"),
        "b": FleetHostAnswer(failure="interrupted"),
    }
    assert answers.signal == number
    assert signal.getsignal(number) == before
    assert {*psutil.Process().children()} <= {*children}


@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [
        ("", 0, "no hosts: the inventory has none"),
        ("[WARNING]: x\n[ERROR]: it is broken", 1, "Ansible: it is broken"),
        ("ERROR! Could not find or access '/x.yml' on the", 1,
         "Ansible: Could not find or access '/x.yml'"),
        ("", 250, "Ansible: it gave no reason"),
    ],
)  # fmt: skip
def test_an_ansible_that_cannot_begin(
    ansible: Ansible, output: str, code: int, reason: str
) -> None:
    ansible(output=output, code=code)
    with pytest.raises(InputError) as error:
        run_playbook([], REQUEST, b"", lambda *_: None)
    assert [str(problem) for problem in error.value.problems] == [reason]


def test_an_inventory_that_never_ends_is_given_up(
    ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playbook_runner, "MAX_INVENTORY_SECONDS", 0.3)
    ansible(seconds=60)
    children = psutil.Process().children()
    with pytest.raises(InputError, match=r"^the inventory could not be read within 0.3 s$"):
        run_playbook([], REQUEST, b"", lambda *_: None)
    assert {*psutil.Process().children()} <= {*children}


def test_an_ansible_that_ends_early_leaves_hosts_without_an_answer(ansible: Ansible) -> None:
    ansible(HOSTS, MEASURED, output="ERROR! killed", code=250)
    answers = run_playbook([], REQUEST, b"", lambda *_: None)
    assert answers.hosts["b"] == FleetHostAnswer(failure="Ansible: killed")
