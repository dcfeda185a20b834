"""The containers of a compose project, over a fake engine: shapes that no engine here has."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from container_engine import (
    GIB,
    INFO,
    LABEL,
    VERSION,
    FakeEngine,
    inspected_container,
    listed_container,
    stats_sample,
)
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import run_probe
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import parse_engine_time
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.stack import oom
from preflight.facts.table import FACT_DECLARATIONS_BY_SUBJECT, Probe
from preflight.model.facts import FactCatalogue, Facts, Measured, Unknown, build_facts


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "s")
    yield fake
    fake.close()


def project(**services: Any) -> Project:
    config = {"services": services or {"api": {"image": "shop/api"}}}
    return Project("shop", "/x", ("/x/compose.yaml",), "cli", config)


def machine_of(url: str, found: Project | None = None) -> Any:
    context: Any = MeasurementContext(MeasurementOptions(docker_host=url, timeout=5))
    context.project = lambda: found or project()
    return context


def asked(context: Any) -> Iterator[Measured]:
    return run_probe(
        Probe(FACT_DECLARATIONS_BY_SUBJECT["stack"], "stack.containers", True), context
    )


def measure(engine: FakeEngine, found: Project | None = None) -> Facts:
    measured = list(asked(machine_of(engine.url, found)))
    catalogue = FactCatalogue(FACT_DECLARATIONS_BY_SUBJECT["stack"])
    for one in measured:
        assert one.path[:2] == ("stack", "containers")
        if len(one.path) > 3 and one.path[3:] != ("environment",):
            assert catalogue.find(one.path), one.path
    return build_facts(measured, measured_at="", version="")


def of(facts: Facts, path: str, name: str = "web") -> Any:
    return facts.get(("stack", "containers", name, *path.split(".")))


class TestWhatStopsIt:
    def test_what_names_no_engine(self, engine: FakeEngine) -> None:
        def fail() -> Any:
            raise EngineError("no context")

        context = machine_of(engine.url)
        context.engine = fail
        (one,) = asked(context)
        assert one == (("stack", "containers"), Unknown("no context", "invalid"), "")

    def test_no_engine(self, tmp_path: Path) -> None:
        (one,) = asked(machine_of(f"unix://{tmp_path}/none"))
        assert isinstance(one.value, Unknown)
        assert one.value.kind == "unavailable"

    def test_no_containers_is_an_empty_map(self, engine: FakeEngine) -> None:
        engine.rows = [listed_container("other", "elsewhere")]
        assert measure(engine).get(("stack", "containers")) == {}
        assert not [path for path in engine.asked if "/events" in path]


class TestWhichContainers:
    def test_of_this_project_by_case_and_no_one_off_runs(self, engine: FakeEngine) -> None:
        engine.rows = [
            listed_container("web"),
            listed_container("run", oneoff="True"),
            listed_container("Loud", project="Shop"),
            listed_container("foreign", project="x"),
            {**listed_container("unlabelled"), "Labels": None},
            {**listed_container("linked"), "Names": ["/web/db", "/linked.1"]},
        ]
        engine.inspections = {
            f"id-{name}": inspected_container() for name in ("web", "linked", "foreign", "Loud")
        }
        facts = measure(engine)
        assert list(facts.get(("stack", "containers"))) == ["linked.1", "web"]
        inspected = sorted(path for path in engine.asked if path.endswith("/json"))
        assert inspected == ["/containers/id-linked/json", "/containers/id-web/json"]
        assert engine.asked.count("/containers/json?all=1") == 1

    def test_one_that_vanishes_is_left_out(self, engine: FakeEngine) -> None:
        engine.rows = [listed_container("web"), listed_container("gone")]
        assert list(measure(engine).get(("stack", "containers"))) == ["web"]

    def test_one_that_cannot_be_inspected_is_unknown_alone(self, engine: FakeEngine) -> None:
        engine.rows = [listed_container("web"), listed_container("bad")]
        engine.inspections["id-bad"] = 500
        facts = measure(engine)
        assert of(facts, "service", "bad") == "api"
        assert "500" in of(facts, "oom_killed", "bad").reason
        assert of(facts, "oom_killed") is False

    def test_each_of_many_is_inspected_once(self, engine: FakeEngine) -> None:
        engine.rows = [listed_container(f"c{n:02}") for n in range(53)]
        engine.inspections = {f"id-c{n:02}": inspected_container() for n in range(53)}
        facts = measure(engine)
        assert len(facts.get(("stack", "containers"))) == 53
        assert of(facts, "restarts", "c52") == 0
        assert sum(path.endswith("/json") for path in engine.asked) == 53

    def test_many_askers_make_one_request(self, engine: FakeEngine) -> None:
        api = machine_of(engine.url).engine().api
        threads = [threading.Thread(target=api.containers) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert engine.asked.count("/containers/json?all=1") == 1


class TestRun:
    @pytest.mark.parametrize(
        ("status", "code", "state", "exit_code"),
        [
            ("running", 0, "running", None),
            ("paused", 0, "paused", None),
            ("exited", 3, "exited", 3),
            ("exited", 0, "exited", 0),
            ("restarting", 1, "restarting", 1),
            ("dead", 137, "dead", 137),
            ("created", 0, "created", None),
            ("created", 127, "created", 127),
            ("stopped", 2, "exited", 2),
            ("configured", 0, "created", None),
        ],
    )
    def test_state_and_exit_code(
        self, engine: FakeEngine, status: str, code: int, state: str, exit_code: int | None
    ) -> None:
        engine.inspections["id-web"] = inspected_container(
            State__Status=status, State__ExitCode=code
        )
        facts = measure(engine)
        assert (of(facts, "state"), of(facts, "exit_code")) == (state, exit_code)

    @pytest.mark.parametrize(
        ("status", "answer", "error"),
        [
            ("created", "port is already allocated", "port is already allocated"),
            ("exited", "runc failed:\n  no such file", "runc failed: no such file"),
            ("exited", "", None),
            ("exited", None, None),
            ("running", "of an earlier start", None),
        ],
    )
    def test_why_it_was_not_started(
        self, engine: FakeEngine, status: str, answer: str | None, error: str | None
    ) -> None:
        engine.inspections["id-web"] = inspected_container(
            State__Status=status, State__Error=answer
        )
        assert of(measure(engine), "error") == error

    @pytest.mark.parametrize(
        ("status", "restarts", "started", "loops"),
        [
            ("restarting", 1, "2026-11-23T17:59:59Z", True),
            ("running", 3, "2026-11-23T17:59:30Z", True),
            ("running", 3, "2026-11-23T18:00:09Z", True),
            ("running", 3, "2026-11-23T17:58:00Z", False),
            ("running", 2, "2026-11-23T17:59:59Z", False),
            ("running", 9, "2026-11-23T19:59:30+02:00", True),
            ("exited", 5, "2026-11-23T17:59:59Z", False),
        ],
    )
    def test_a_loop_by_the_engines_own_clock(
        self, engine: FakeEngine, status: str, restarts: int, started: str, loops: bool
    ) -> None:
        changed = {"State__Status": status, "State__StartedAt": started}
        engine.inspections["id-web"] = inspected_container(RestartCount=restarts, **changed)
        assert of(measure(engine), "restarting") is loops

    @pytest.mark.parametrize(("started", "loops"), [("17:59:59", True), ("17:58:59", False)])
    def test_podman_says_exited_between_two_runs(
        self, engine: FakeEngine, started: str, loops: bool
    ) -> None:
        engine.version = {**VERSION, "Components": [{"Name": "Podman Engine"}]}
        engine.inspections["id-web"] = inspected_container(
            RestartCount=4,
            State__Status="stopped",
            State__StartedAt=f"2026-11-23T{started}Z",
        )
        assert of(measure(engine), "restarting") is loops

    def test_without_the_engines_clock_a_loop_is_unknown(self, engine: FakeEngine) -> None:
        engine.info = {**INFO, "SystemTime": "yesterday"}
        engine.inspections["id-web"] = inspected_container(RestartCount=5)
        assert isinstance(of(measure(engine), "restarting"), Unknown)

    def test_never_started(self, engine: FakeEngine) -> None:
        engine.inspections["id-web"] = inspected_container(State__StartedAt="0001-01-01T00:00:00Z")
        assert of(measure(engine), "started_at") is None

    @pytest.mark.parametrize(
        ("driver", "options", "rotated"),
        [
            ("json-file", {}, False),
            ("json-file", None, False),
            ("json-file", {"max-size": "10m"}, True),
            ("json-file", {"max-size": "-1"}, False),
            ("local", {}, True),
            ("journald", {}, True),
            ("none", {}, True),
            ("syslog", {}, "syslog"),
            ("", {}, "LogConfig.Type"),
        ],
    )
    def test_rotated(self, engine: FakeEngine, driver: str, options: Any, rotated: Any) -> None:
        log = {"Type": driver, "Config": options}
        engine.inspections["id-web"] = inspected_container(HostConfig__LogConfig=log)
        found = of(measure(engine), "log.rotated")
        if isinstance(rotated, str):
            assert rotated in found.reason
        else:
            assert found is rotated

    def test_podman_does_not_tell_the_options_of_its_log(self, engine: FakeEngine) -> None:
        engine.version = {**VERSION, "Components": [{"Name": "Podman Engine"}]}
        engine.inspections["id-web"] = inspected_container(
            HostConfig__LogConfig={"Type": "json-file", "Config": None}
        )
        assert isinstance(of(measure(engine), "log.rotated"), Unknown)

    def test_variables(self, engine: FakeEngine) -> None:
        engine.inspections["id-web"] = inspected_container(
            Config__Env=["A=1=2", "B.C=", "UNSET", "=x"]
        )
        facts = measure(engine)
        assert of(facts, "environment") == {"A": "1=2", "B.C": ""}

    def test_no_variables_are_none_not_unknown(self, engine: FakeEngine) -> None:
        engine.inspections["id-web"] = inspected_container(Config__Env=None)
        assert of(measure(engine), "environment") == {}
        assert of(measure(engine), "environment.A") is None


class TestMemoryOfAnEngineElsewhere:
    """Without its cgroup at hand: by inspect and one sample."""

    @pytest.mark.parametrize(
        ("answer", "usage"),
        [
            (stats_sample(500, total_inactive_file=100), 400),
            (stats_sample(500, inactive_file=200), 300),
            (stats_sample(500, inactive_file=900), 500),
            (stats_sample(500), 500),
            (stats_sample(0), Unknown),
            ({}, Unknown),
            ({"memory_stats": None}, Unknown),
            ({"memory_stats": {"usage": "much"}}, Unknown),
            ({"memory_stats": [1]}, Unknown),
            (500, Unknown),
            (b"not JSON", Unknown),
            ([], Unknown),
        ],
    )
    def test_usage(self, engine: FakeEngine, answer: Any, usage: Any) -> None:
        engine.samples["id-web"] = answer
        found = of(measure(engine), "memory.usage")
        assert isinstance(found, Unknown) if usage is Unknown else found == usage

    def test_a_stopped_one_uses_nothing_and_is_not_asked(self, engine: FakeEngine) -> None:
        engine.inspections["id-web"] = inspected_container(
            State__Status="exited", HostConfig__Memory=GIB
        )
        facts = measure(engine)
        assert of(facts, "memory.usage") is None
        assert of(facts, "memory.parent") is None
        assert of(facts, "memory.limit") == GIB
        assert not [path for path in engine.asked if "/stats" in path]

    @pytest.mark.parametrize(
        ("configured", "answer", "limit", "parent"),
        [
            (0, stats_sample(9), None, Unknown),
            (GIB, stats_sample(9, GIB), GIB, Unknown),
            (0, stats_sample(9, hierarchical_memory_limit=8 * GIB), None, None),
            (0, stats_sample(9, hierarchical_memory_limit=2**63 - 4096), None, None),
            (GIB, stats_sample(9, GIB, hierarchical_memory_limit=GIB), GIB, None),
            (2 * GIB, stats_sample(9, 2 * GIB, hierarchical_memory_limit=GIB), GIB, GIB),
            (0, stats_sample(9, hierarchical_memory_limit=GIB), GIB, GIB),
            (GIB, 500, GIB, Unknown),
            (0, 500, Unknown, Unknown),
            (None, stats_sample(9), Unknown, Unknown),
        ],
    )
    def test_limits(
        self, engine: FakeEngine, configured: Any, answer: Any, limit: Any, parent: Any
    ) -> None:
        engine.inspections["id-web"] = inspected_container(HostConfig__Memory=configured)
        engine.samples["id-web"] = answer
        facts = measure(engine)
        for name, wanted in (("limit", limit), ("parent", parent)):
            found = of(facts, f"memory.{name}")
            assert isinstance(found, Unknown) if wanted is Unknown else found == wanted, name
        wanted = Unknown if configured is None else configured or None
        found = of(facts, "memory.configured")
        assert isinstance(found, Unknown) if wanted is Unknown else found == wanted

    @pytest.mark.parametrize(
        ("host", "cpus"),
        [
            ({"NanoCpus": 0}, None),
            ({"NanoCpus": 1_500_000_000}, 1.5),
            ({"NanoCpus": 0, "CpuQuota": 50_000, "CpuPeriod": 200_000}, 0.25),
            ({"NanoCpus": 0, "CpuQuota": 50_000}, 0.5),
            ({"NanoCpus": 0, "CpuQuota": -1}, None),
            ({"NanoCpus": None}, Unknown),
        ],
    )
    def test_cpus(self, engine: FakeEngine, host: Any, cpus: Any) -> None:
        engine.inspections["id-web"] = inspected_container(
            **{f"HostConfig__{key}": one for key, one in host.items()}
        )
        found = of(measure(engine), "cpus")
        assert isinstance(found, Unknown) if cpus is Unknown else found == cpus


class TestOomEvents:
    def event(self, time: float, container: str = "id-web", action: str = "oom") -> dict[str, Any]:
        return {"Action": action, "Actor": {"ID": container}, "timeNano": int(time * 1e9)}

    def test_they_are_asked_for_once_and_bounded(self, engine: FakeEngine) -> None:
        started = parse_engine_time("2026-11-23T17:00:00Z") or 0
        other = [self.event(started, "id-x"), self.event(started, action="die"), {"Action": 7}, []]
        engine.events = [*other, self.event(started + 60)]
        engine.rows = [listed_container("web"), listed_container("db")]
        engine.inspections["id-db"] = inspected_container()
        facts = measure(engine)
        assert (of(facts, "oom_killed"), of(facts, "oom_certainty")) == (True, "likely")
        assert of(facts, "oom_evidence") == "oom events in this run: 1"
        assert of(facts, "oom_killed", "db") is False
        (path,) = [path for path in engine.asked if path.startswith("/events")]
        assert re.search(r"since=\d+&until=\d+&filters=", path)
        assert f"{LABEL}.project%3Dshop" in path

    def test_an_engine_that_goes_on_sending_is_not_waited_for(
        self, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oom, "MAX_EVENTS_WAIT_SECONDS", 0.1)
        engine.events = None
        facts = measure(engine)
        assert of(facts, "oom_killed") is False
        assert "/events" not in facts.source(("stack", "containers", "web", "oom_killed"))

    def test_the_flag_of_20_10(self, engine: FakeEngine) -> None:
        engine.version = {**VERSION, "Version": "20.10.24+dfsg1"}
        engine.inspections["id-web"] = inspected_container(State__OOMKilled=True)
        assert of(measure(engine), "oom_certainty") == "likely"


def test_values_of_variables_are_never_told(engine: FakeEngine) -> None:
    engine.inspections["id-web"] = inspected_container(Config__Env=["TOKEN=hunter2"])
    found = of(measure(engine, project(api={"environment": {"TOKEN": "swordfish"}})), "drift")
    assert found == ["variable TOKEN has another value than in the file"]


def test_a_service_that_is_not_in_the_file(engine: FakeEngine) -> None:
    assert of(measure(engine, project(db={})), "drift") == ["service api is not in the file"]


def test_a_service_whose_profile_is_not_active_is_in_the_file(engine: FakeEngine) -> None:
    config: dict[str, Any] = {"services": {"db": {}}}
    inactive = {"api": ("debug",), "old": ("a", "b")}
    found = project()._replace(config=config, inactive=inactive)
    engine.rows = [listed_container("web"), listed_container("old", service="old")]
    engine.inspections["id-old"] = inspected_container()
    facts = measure(engine, found)
    said = "service api is in the file, but its profile is not active: debug"
    assert of(facts, "drift") == [said]
    assert of(facts, "drift", "old") == [
        "service old is in the file, but its profiles are not active: a, b"
    ]


def test_no_drift_is_absent(engine: FakeEngine) -> None:
    assert of(measure(engine), "drift") is None


def test_a_container_without_its_service(engine: FakeEngine) -> None:
    engine.rows[0]["Labels"].pop(f"{LABEL}.service")
    facts = measure(engine)
    assert of(facts, "service") is None
    assert isinstance(of(facts, "drift"), Unknown)


GARBAGE: list[Any] = [None, 7, -1, 1.5, "x", True, [], [None], {"a": None}, 2**70, "\ud800"]
KEYS = ["RestartCount", "State", "HostConfig", "Config", "State__Status", "State__ExitCode"]
KEYS += ["State__StartedAt", "State__OOMKilled", "State__Pid", "HostConfig__Memory"]
KEYS += ["HostConfig__NanoCpus", "HostConfig__LogConfig", "Config__Env", "Config__Image"]


@pytest.mark.parametrize("key", KEYS)
def test_no_answer_is_a_crash(engine: FakeEngine, key: str) -> None:
    engine.rows = [listed_container(f"c{n}") for n in range(len(GARBAGE))]
    engine.inspections = {
        f"id-c{n}": inspected_container(**{key: value}) for n, value in enumerate(GARBAGE)
    }
    facts = measure(engine)
    for n in range(len(GARBAGE)):
        for fact in FACT_DECLARATIONS_BY_SUBJECT["stack"]:
            path = fact.path.removeprefix("stack.containers.*.").removesuffix(".*")
            assert of(facts, path, f"c{n}") != Unknown("the facts don't include this value"), path


@pytest.mark.parametrize("key", ["Id", "Names", "State", "Labels"])
def test_no_row_of_the_list_is_a_crash(engine: FakeEngine, key: str) -> None:
    engine.rows = [{**listed_container("web"), key: value} for value in GARBAGE] + [
        listed_container("last")
    ]
    engine.inspections = {"id-web": inspected_container(), "id-last": inspected_container()}
    assert of(measure(engine), "state", "last") == "running"


@pytest.mark.parametrize("garbage", [None, 7, "x", [None, 7, {}], {"a": 1}, [{"Id": 5}]])
def test_no_list_is_a_crash(engine: FakeEngine, garbage: Any) -> None:
    engine.rows = garbage
    found = measure(engine).get(("stack", "containers"))
    assert found == {} or isinstance(found, Unknown)
