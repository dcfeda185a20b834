"""Whether lack of memory killed a container: what the signals prove, alone and together."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from preflight.facts.stack.oom import OomSignals, judge_oom
from preflight.model.facts import Unknown

CALM = OomSignals(
    False, True, None, 0, 100.0, 0, (), flag_is_reliable=True, flag_outlives_run=False
)


class Case(NamedTuple):
    why: str
    signals: OomSignals
    killed: bool | None  # None stands for unknown
    certainty: str | None = None
    words: str = ""


GONE = CALM._replace(running=False, exit_code=0, kills=None)
PODMAN = CALM._replace(flag_is_reliable=False)
CASES = [
    Case("calm", CALM, False),
    Case("the flag", GONE._replace(flag=True), True, "certain", "State.OOMKilled is true"),
    Case("24: the flag while it runs", CALM._replace(flag=True), True, "certain"),
    Case(
        "20.10: the flag outlives a start by hand",
        CALM._replace(flag=True, flag_outlives_run=True),
        True,
        "likely",
        "before its last start",
    ),
    Case(
        "20.10: the engine started it again",
        CALM._replace(flag=True, flag_outlives_run=True, restarts=2),
        True,
        "certain",
        "restarts: 2",
    ),
    Case(
        "a child",
        CALM._replace(kills=1, flag_outlives_run=True),
        True,
        "certain",
        "in this run: 1",
    ),
    Case("children", CALM._replace(kills=3), True, "certain", "in this run: 3"),
    Case("docker kill", GONE._replace(exit_code=137), False),
    Case("an event in this run", CALM._replace(event_times=(150.0,), kills=None), True, "likely"),
    Case("a shortage that killed nothing", CALM._replace(event_times=(150.0,), kills=0), False),
    Case(
        "an event and 137",
        GONE._replace(event_times=(150.0,), exit_code=137),
        True,
        "certain",
        "137",
    ),
    Case(
        "an event before a restart",
        CALM._replace(event_times=(50.0,), restarts=1),
        True,
        "likely",
        "oom events before its last start: 1",
    ),
    Case("an event before a start by hand", CALM._replace(event_times=(50.0,)), False),
    Case("near its limit is no kill", CALM._replace(memory_share=0.99), False),
    Case(
        "near its limit besides", CALM._replace(memory_share=0.99, kills=1), True, "certain", "99%"
    ),
    Case("no flag", GONE._replace(flag=None), None),
    Case("20.10 elsewhere, no event", CALM._replace(flag_outlives_run=True, kills=None), False),
    Case(
        "20.10 elsewhere, no events to be had",
        CALM._replace(flag_outlives_run=True, kills=None, event_times=None),
        None,
    ),
    Case("28 elsewhere, no events to be had", CALM._replace(kills=None, event_times=None), False),
    Case("podman, 137", PODMAN._replace(running=False, exit_code=137, kills=None), None),
    Case("podman, its flag", PODMAN._replace(flag=True, running=False), True, "certain"),
    Case("podman, ended by itself", PODMAN._replace(running=False, exit_code=1, kills=None), False),
    Case("podman, a child", PODMAN._replace(kills=2), True, "certain"),
    Case("podman in a VM", PODMAN._replace(kills=None), None),
    Case("podman, restarted", PODMAN._replace(restarts=2), None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_killed_for_lack_of_memory(case: Case) -> None:
    killed, certainty, evidence = judge_oom(case.signals)
    if case.killed is None:
        assert isinstance(killed, Unknown)
        assert killed.reason
        assert certainty == evidence == killed
        return
    assert (killed, certainty) == (case.killed, case.certainty)
    assert (evidence is not None) is case.killed
    assert case.words in str(evidence)
