"""The containers of a compose project, over a fake engine: shapes that no engine here has."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from preflight.facts import catalogue as declared
from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.measurement import Options
from preflight.facts.compose.project import Project
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import parse_time
from preflight.facts.stack import container, oom
from preflight.facts.stack import containers as stack
from preflight.facts.stack.container_cgroup import ContainerCgroup, read_container_cgroup
from preflight.facts.stack.drift import find_drift
from preflight.facts.stack.oom import OomSignals, judge_oom
from preflight.model.facts import Catalogue, Facts, Measured, Unknown, build_facts

GIB = 2**30
NOW = "2026-11-23T18:00:00.5Z"
VERSION = {"Version": "28.2.2", "ApiVersion": "1.50", "Os": "linux", "Arch": "amd64"}
INFO = {"SystemTime": NOW, "MemTotal": 8 * GIB, "Containers": 3, "KernelVersion": "of-a-vm"}
LABEL = "com.docker.compose"
CALM = OomSignals(
    False, True, None, 0, 100.0, 0, (), flag_is_reliable=True, flag_outlives_run=False
)


def row(name: str, project: str = "shop", **labels: str) -> dict[str, Any]:
    own = {f"{LABEL}.project": project, f"{LABEL}.service": "api"}
    own.update({f"{LABEL}.{key}": value for key, value in labels.items()})
    return {"Id": f"id-{name}", "Names": [f"/{name}"], "State": "running", "Labels": own}


def told(**changed: Any) -> dict[str, Any]:
    """Build what an inspect says of a calm container; a key such as State__Pid goes below."""
    answer: dict[str, Any] = {
        "RestartCount": 0,
        "State": {
            "Status": "running",
            "OOMKilled": False,
            "Pid": 7,
            "ExitCode": 0,
            "StartedAt": "2026-11-23T17:00:00Z",
        },
        "HostConfig": {
            "Memory": 0,
            "NanoCpus": 0,
            "LogConfig": {"Type": "json-file", "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        },
        "Config": {"Env": ["A=1"], "Image": "shop/api"},
    }
    for key, value in changed.items():
        *above, last = key.split("__")
        node = answer
        for part in above:
            node = node[part]
        node[last] = value
    return answer


def sample(usage: int, limit: int = 8 * GIB, **stats: int) -> dict[str, Any]:
    memory = {"usage": usage, "limit": limit, **({"stats": stats} if stats else {})}
    return {"memory_stats": memory}


class FakeEngine:
    """Answers by path; `asked` are the paths in order, without the version."""

    def __init__(self, place: Path) -> None:
        self.url = f"unix://{place}"
        self.asked: list[str] = []
        self.version: Any = VERSION
        self.info: Any = INFO
        self.rows: Any = [row("web")]
        self.told: dict[str, Any] = {"id-web": told()}
        self.samples: dict[str, Any] = {}
        self.events: Any = []
        self.hang = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.hang.set()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = connection.recv(65536)
            path = re.sub(r"^/v[0-9.]+", "", request.split()[1].decode())
            self.asked.append(path)
            status, answer = self._answer(path)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data)

    def _answer(self, path: str) -> tuple[int, Any]:
        name, _, _ = path.partition("?")
        parts = name.strip("/").split("/")
        if name in ("/version", "/info"):
            return 200, self.version if name == "/version" else self.info
        if name == "/containers/json":
            return 200, self.rows(path) if callable(self.rows) else self.rows
        if name == "/events":
            if self.events is None:
                self.hang.wait(30)
            return 200, b"\n".join(json.dumps(one).encode() for one in self.events or ())
        found = (self.samples if parts[-1] == "stats" else self.told).get(parts[1])
        if isinstance(found, int):
            return found, {"message": "no"}
        return (404, {"message": "gone"}) if found is None else (200, found)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "s")
    yield fake
    fake.close()


def project(**services: Any) -> Project:
    config = {"services": services or {"api": {"image": "shop/api"}}}
    return Project("shop", "/x", ("/x/compose.yaml",), "cli", config)


def machine_of(url: str, found: Project | None = None) -> Any:
    context: Any = MeasureContext(Options(docker_host=url, timeout=5))
    context.project = lambda: found or project()
    return context


def asked(context: Any) -> Iterator[Measured]:
    return stack.measure(context, context.project())


def measure(engine: FakeEngine, found: Project | None = None) -> Facts:
    measured = list(asked(machine_of(engine.url, found)))
    catalogue = Catalogue(declared.STACK)
    for one in measured:
        assert one.path[:2] == ("stack", "containers")
        if len(one.path) > 2 and one.path[3:] != ("environment",):
            assert catalogue.find(one.path), one.path
    return build_facts(measured, measured_at="", version="")


def of(facts: Facts, path: str, name: str = "web") -> Any:
    return facts.get(("stack", "containers", name, *path.split(".")))


class TestWhatStopsIt:
    def test_what_names_no_engine(self, engine: FakeEngine) -> None:
        def fail() -> Any:
            raise EndpointError("no context")

        context = machine_of(engine.url)
        context.engine = fail
        (one,) = asked(context)
        assert one == (("stack", "containers"), Unknown("no context", "invalid"), "")

    def test_no_engine(self, tmp_path: Path) -> None:
        (one,) = asked(machine_of(f"unix://{tmp_path}/none"))
        assert isinstance(one.value, Unknown)
        assert one.value.kind == "unavailable"

    def test_no_containers_is_an_empty_map(self, engine: FakeEngine) -> None:
        engine.rows = [row("other", "elsewhere")]
        assert measure(engine).get(("stack", "containers")) == {}
        assert not [path for path in engine.asked if "/events" in path]


class TestWhichContainers:
    def test_of_this_project_by_case_and_no_one_off_runs(self, engine: FakeEngine) -> None:
        engine.rows = [
            row("web"),
            row("run", oneoff="True"),
            row("Loud", project="Shop"),
            row("foreign", project="x"),
            {**row("unlabelled"), "Labels": None},
            {**row("linked"), "Names": ["/web/db", "/linked.1"]},
        ]
        engine.told = {f"id-{name}": told() for name in ("web", "linked", "foreign", "Loud")}
        facts = measure(engine)
        assert list(facts.get(("stack", "containers"))) == ["linked.1", "web"]
        inspected = sorted(path for path in engine.asked if path.endswith("/json"))
        assert inspected == ["/containers/id-linked/json", "/containers/id-web/json"]
        assert engine.asked.count("/containers/json?all=1") == 1

    def test_among_many_only_the_projects_are_listed(self, engine: FakeEngine) -> None:
        engine.info = {**INFO, "Containers": 1000}
        assert of(measure(engine), "service") == "api"
        (listing,) = [path for path in engine.asked if path.startswith("/containers/json")]
        assert f"{LABEL}.project%3Dshop" in listing

    def test_one_that_vanishes_is_left_out(self, engine: FakeEngine) -> None:
        engine.rows = [row("web"), row("gone")]
        assert list(measure(engine).get(("stack", "containers"))) == ["web"]

    def test_one_that_cannot_be_inspected_is_unknown_alone(self, engine: FakeEngine) -> None:
        engine.rows = [row("web"), row("bad")]
        engine.told["id-bad"] = 500
        facts = measure(engine)
        assert of(facts, "service", "bad") == "api"
        assert of(facts, "state", "bad") == "running"
        assert "500" in of(facts, "oom_killed", "bad").reason
        assert of(facts, "oom_killed") is False

    def test_no_more_than_fifty_are_looked_into(self, engine: FakeEngine) -> None:
        engine.rows = [row(f"c{n:02}") for n in range(53)]
        engine.told = {f"id-c{n:02}": told() for n in range(53)}
        facts = measure(engine)
        assert len(facts.get(("stack", "containers"))) == 53
        assert of(facts, "restarts", "c49") == 0
        assert of(facts, "restarts", "c50").reason == "only 50 of 53 containers are inspected"
        assert of(facts, "environment.A", "c52").reason.startswith("only 50")
        assert of(facts, "state", "c52") == "running"
        assert sum(path.endswith("/json") for path in engine.asked) == 50

    def test_many_askers_make_one_request(self, engine: FakeEngine) -> None:
        api = machine_of(engine.url).engine().api
        threads = [threading.Thread(target=api.containers) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert engine.asked.count("/containers/json?all=1") == 1


def asked_images(path: str) -> set[str]:
    return set(re.findall("i[0-9]+", path))


class TestUsedImages:
    """Which images are in use, learnt from a few containers at a time where there are many."""

    def api(self, engine: FakeEngine, count: int = 1000) -> Any:
        engine.info = {**INFO, "Containers": count}
        return machine_of(engine.url).engine().api

    def test_a_few_short_lists_tell_all(self, engine: FakeEngine) -> None:
        every = [{"ImageID": f"i{n}", "Id": str(n)} for n in [1] * 900 + [2, 3]]

        def rows(path: str) -> Any:
            assert "limit=20" in path
            return [one for one in every if one["ImageID"] in asked_images(path)][:20]

        engine.rows = rows
        assert self.api(engine).images_in_use(["i1", "i2", "i3", "i4"]) == {"i1", "i2", "i3"}
        assert len(engine.asked) == 2 + 3

    @pytest.mark.parametrize("answer", [[], [{"ImageID": "i9"}]])
    def test_an_engine_that_does_not_understand_tells_them_all(
        self, engine: FakeEngine, answer: Any
    ) -> None:
        engine.rows = lambda path: answer if "ancestor" in path else [{"ImageID": "i2"}]
        assert self.api(engine).images_in_use(["i1", "i2"]) == {"i2"}

    def test_few_containers_are_listed_once(self, engine: FakeEngine) -> None:
        engine.rows = [{"ImageID": "i2"}, {"ImageID": "i7"}]
        assert self.api(engine, 3).images_in_use(["i1", "i2"]) == {"i2"}
        assert engine.asked[2:] == ["/containers/json?all=1"]


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
        engine.told["id-web"] = told(State__Status=status, State__ExitCode=code)
        facts = measure(engine)
        assert (of(facts, "state"), of(facts, "exit_code")) == (state, exit_code)

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
        engine.told["id-web"] = told(RestartCount=restarts, **changed)
        assert of(measure(engine), "restarting") is loops

    @pytest.mark.parametrize(
        ("policy", "loops"), [("always", True), ("on-failure", False), ("no", False)]
    )
    def test_podman_says_exited_between_two_runs(
        self, engine: FakeEngine, policy: str, loops: bool
    ) -> None:
        engine.version = {**VERSION, "Components": [{"Name": "Podman Engine"}]}
        engine.told["id-web"] = told(
            RestartCount=4,
            State__Status="stopped",
            State__StartedAt="2026-11-23T17:59:59Z",
            HostConfig__RestartPolicy={"Name": policy, "MaximumRetryCount": 4},
        )
        assert of(measure(engine), "restarting") is loops

    def test_without_the_engines_clock_a_loop_is_unknown(self, engine: FakeEngine) -> None:
        engine.info = {**INFO, "SystemTime": "yesterday"}
        engine.told["id-web"] = told(RestartCount=5)
        assert isinstance(of(measure(engine), "restarting"), Unknown)

    def test_never_started(self, engine: FakeEngine) -> None:
        engine.told["id-web"] = told(State__StartedAt="0001-01-01T00:00:00Z")
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
        engine.told["id-web"] = told(HostConfig__LogConfig=log)
        found = of(measure(engine), "log.rotated")
        if isinstance(rotated, str):
            assert rotated in found.reason
        else:
            assert found is rotated

    def test_podman_does_not_tell_the_options_of_its_log(self, engine: FakeEngine) -> None:
        engine.version = {**VERSION, "Components": [{"Name": "Podman Engine"}]}
        engine.told["id-web"] = told(HostConfig__LogConfig={"Type": "json-file", "Config": None})
        assert isinstance(of(measure(engine), "log.rotated"), Unknown)

    def test_variables(self, engine: FakeEngine) -> None:
        engine.told["id-web"] = told(Config__Env=["A=1=2", "B.C=", "UNSET", "=x"])
        facts = measure(engine)
        assert of(facts, "environment") == {"A": "1=2", "B.C": ""}
        assert next(f.sensitive for f in declared.STACK if f.path.endswith("environment.*"))

    def test_no_variables_are_none_not_unknown(self, engine: FakeEngine) -> None:
        engine.told["id-web"] = told(Config__Env=None)
        assert of(measure(engine), "environment") == {}
        assert of(measure(engine), "environment.A") is None


class TestMemoryOfAnEngineElsewhere:
    """Without its cgroup at hand: by inspect and one sample."""

    @pytest.mark.parametrize(
        ("answer", "usage"),
        [
            (sample(500, total_inactive_file=100), 400),
            (sample(500, inactive_file=200), 300),
            (sample(500, inactive_file=900), 500),
            (sample(500), 500),
            (sample(0), Unknown),
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
        engine.told["id-web"] = told(State__Status="exited", HostConfig__Memory=GIB)
        facts = measure(engine)
        assert of(facts, "memory.usage") is None
        assert of(facts, "memory.parent") is None
        assert of(facts, "memory.limit") == GIB
        assert not [path for path in engine.asked if "/stats" in path]

    @pytest.mark.parametrize(
        ("configured", "answer", "limit", "parent"),
        [
            (0, sample(9), None, Unknown),
            (GIB, sample(9, GIB), GIB, Unknown),
            (0, sample(9, 2 * GIB), 2 * GIB, Unknown),
            (0, sample(9, hierarchical_memory_limit=8 * GIB), None, None),
            (0, sample(9, hierarchical_memory_limit=2**63 - 4096), None, None),
            (GIB, sample(9, GIB, hierarchical_memory_limit=GIB), GIB, None),
            (2 * GIB, sample(9, 2 * GIB, hierarchical_memory_limit=GIB), GIB, GIB),
            (0, sample(9, hierarchical_memory_limit=GIB), GIB, GIB),
            (GIB, 500, GIB, Unknown),
            (0, 500, Unknown, Unknown),
            (None, sample(9), Unknown, Unknown),
        ],
    )
    def test_limits(
        self, engine: FakeEngine, configured: Any, answer: Any, limit: Any, parent: Any
    ) -> None:
        engine.told["id-web"] = told(HostConfig__Memory=configured)
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
        engine.told["id-web"] = told(**{f"HostConfig__{key}": one for key, one in host.items()})
        found = of(measure(engine), "cpus")
        assert isinstance(found, Unknown) if cpus is Unknown else found == cpus


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
        "restarted 2 times",
    ),
    Case(
        "a child",
        CALM._replace(kills=1, flag_outlives_run=True),
        True,
        "certain",
        "1 killed process in",
    ),
    Case("children", CALM._replace(kills=3), True, "certain", "3 killed processes"),
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
        "1 oom event before its last start",
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
    verdict = judge_oom(case.signals)
    if case.killed is None:
        assert isinstance(verdict.killed, Unknown)
        assert verdict.killed.reason
    else:
        assert verdict.killed is case.killed
    assert verdict.certainty == case.certainty
    assert (verdict.evidence is not None) is bool(case.killed)
    assert case.words in (verdict.evidence or "")


class TestOomEvents:
    def event(self, time: float, container: str = "id-web", action: str = "oom") -> dict[str, Any]:
        return {"Action": action, "Actor": {"ID": container}, "timeNano": int(time * 1e9)}

    def test_they_are_asked_for_once_and_bounded(self, engine: FakeEngine) -> None:
        started = parse_time("2026-11-23T17:00:00Z") or 0
        other = [self.event(started, "id-x"), self.event(started, action="die"), {"Action": 7}, []]
        engine.events = [*other, self.event(started + 60)]
        engine.rows = [row("web"), row("db")]
        engine.told["id-db"] = told()
        facts = measure(engine)
        assert (of(facts, "oom_killed"), of(facts, "oom_certainty")) == (True, "likely")
        assert of(facts, "oom_evidence") == "1 oom event in this run"
        assert of(facts, "oom_killed", "db") is False
        (path,) = [path for path in engine.asked if path.startswith("/events")]
        assert re.search(r"since=\d+&until=\d+&filters=", path)
        assert f"{LABEL}.project%3Dshop" in path

    def test_an_engine_that_goes_on_sending_is_not_waited_for(
        self, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oom, "EVENTS_WAIT_SECONDS", 0.1)
        monkeypatch.setattr(container, "EVENTS_WAIT_SECONDS", 0.1)
        engine.events = None
        facts = measure(engine)
        assert of(facts, "oom_killed") is False
        assert "/events" not in facts.source(("stack", "containers", "web", "oom_killed"))

    def test_the_flag_of_20_10(self, engine: FakeEngine) -> None:
        engine.version = {**VERSION, "Version": "20.10.24+dfsg1"}
        engine.told["id-web"] = told(State__OOMKilled=True)
        assert of(measure(engine), "oom_certainty") == "likely"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V1 = "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


class TestGroup:
    def test_v2_with_a_process_deeper_than_its_container(self, tmp_path: Path) -> None:
        own = "sys/fs/cgroup/small.slice/docker-abc.scope"
        root = tree(tmp_path, {
            "proc/self/mountinfo": V2,
            "proc/7/cgroup": "0::/small.slice/docker-abc.scope/init\n",
            f"{own}/init/memory.events": "low 0\noom_kill 9\n",
            f"{own}/memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n",
            f"{own}/memory.max": f"{2 * GIB}\n",
            f"{own}/memory.current": "1000\n",
            f"{own}/memory.stat": "anon 300\ninactive_file 400\n",
            "sys/fs/cgroup/small.slice/memory.max": f"{GIB}\n",
        })  # fmt: skip
        group = read_container_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (2, 600)
        assert group.limit.value == group.parent_limit.value == GIB
        assert group.oom_source == f"/{own}/memory.events"

    def test_v1(self, tmp_path: Path) -> None:
        own = "sys/fs/cgroup/memory/docker/abc"
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/docker/abc\n0::/elsewhere\n",
            f"{own}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            f"{own}/memory.limit_in_bytes": f"{GIB}\n",
            f"{own}/memory.usage_in_bytes": "1000\n",
            f"{own}/memory.stat": "inactive_file 1\ntotal_inactive_file 250\n",
        })  # fmt: skip
        group = read_container_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (1, 750)
        assert (group.limit.value, group.parent_limit.value) == (GIB, None)

    def test_kills_in_a_group_that_is_shared_are_not_the_containers(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/user.slice\n",
            "sys/fs/cgroup/memory/user.slice/memory.oom_control": "oom_kill 5\n",
        })  # fmt: skip
        assert isinstance(read_container_cgroup(7, "abc", root), Unknown)

    def test_an_old_kernel_does_not_count(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {
            "proc/self/mountinfo": V1,
            "proc/7/cgroup": "4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/docker/abc/memory.oom_control": "under_oom 0\n",
        })  # fmt: skip
        group = read_container_cgroup(7, "abc", root)
        assert isinstance(group, ContainerCgroup)
        assert (group.oom_kills, group.usage) == (None, None)

    def test_a_process_that_has_ended(self, tmp_path: Path) -> None:
        root = tree(tmp_path, {"proc/self/mountinfo": V1})
        assert read_container_cgroup(7, "abc", root) == Unknown("its process has just ended")


def limits(**limits: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {"limits": limits}}}


@pytest.mark.parametrize(
    ("service", "container", "said"),
    [
        ({"environment": {"A": "1"}}, {}, []),
        ({"environment": {"A": "2"}}, {}, ["variable A has another value than in the file"]),
        ({"environment": {"B": ""}}, {}, ["variable B is not set, the file sets it"]),
        ({"environment": {"B": None}}, {}, []),
        ({"environment": {}}, {}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": GIB}, []),
        ({"mem_limit": str(GIB)}, {"HostConfig__Memory": GIB}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": 512 * 2**20},
         ["memory limit 512 MiB, the file says 1 GiB"]),
        (limits(memory=str(GIB)), {}, ["memory limit none, the file says 1 GiB"]),
        ({}, {"HostConfig__Memory": GIB}, ["memory limit 1 GiB, the file says none"]),
        (limits(memory="0"), {}, []),
        (limits(memory="much"), {}, []),
        (limits(memory=str(GIB)), {"HostConfig__Memory": None}, []),
        (limits(cpus="0.1"), {"HostConfig__NanoCpus": 100_000_001}, []),
        (limits(cpus=2), {"HostConfig__NanoCpus": 1_500_000_000},
         ["CPU limit 1.5, the file says 2"]),
        ({"cpus": 0.5}, {}, ["CPU limit none, the file says 0.5"]),
        ({"cpu_quota": 50000}, {"HostConfig__NanoCpus": 500_000_000}, []),
        ({"image": "shop/api:latest"}, {}, []),
        ({"image": "docker.io/shop/api"}, {}, []),
        ({"image": "shop/api:2"}, {}, ["image shop/api, the file says shop/api:2"]),
        ({"image": "ghcr.io/shop/api"}, {"Config__Image": "docker.io/shop/api"},
         ["image docker.io/shop/api, the file says ghcr.io/shop/api"]),
        ({"image": "phi"}, {"Config__Image": "docker.io/library/phi:latest"}, []),
        ({"image": "r:5000/phi"}, {"Config__Image": "r:5000/phi:latest"}, []),
        ({"image": "shop/api:1@sha256:aa"}, {}, []),
        ({"image": "shop/api"}, {"Config__Image": "sha256:aa"}, []),
        ({"image": None}, {}, []),
    ],
)  # fmt: skip
def test_drift(service: dict[str, Any], container: dict[str, Any], said: list[str]) -> None:
    assert find_drift(service, told(**container)) == said


def test_values_of_variables_are_never_told(engine: FakeEngine) -> None:
    engine.told["id-web"] = told(Config__Env=["TOKEN=hunter2"])
    found = of(measure(engine, project(api={"environment": {"TOKEN": "swordfish"}})), "drift")
    assert found == ["variable TOKEN has another value than in the file"]


def test_a_service_that_is_not_in_the_file(engine: FakeEngine) -> None:
    assert of(measure(engine, project(db={})), "drift") == ["service api is not in the file"]


def test_a_service_whose_profile_is_not_active_is_in_the_file(engine: FakeEngine) -> None:
    config: dict[str, Any] = {"services": {"db": {}}}
    inactive = {"api": ("debug",), "old": ("a", "b")}
    found = project()._replace(config=config, inactive=inactive)
    engine.rows = [row("web"), row("old", service="old")]
    engine.told["id-old"] = told()
    facts = measure(engine, found)
    said = "service api is in the file, but its profile debug is not active"
    assert of(facts, "drift") == [said]
    assert of(facts, "drift", "old") == [
        "service old is in the file, but its profiles a, b are not active"
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
    engine.rows = [row(f"c{n}") for n in range(len(GARBAGE))]
    engine.told = {f"id-c{n}": told(**{key: value}) for n, value in enumerate(GARBAGE)}
    facts = measure(engine)
    for n in range(len(GARBAGE)):
        for fact in declared.STACK:
            path = fact.path.removeprefix("stack.containers.*.").removesuffix(".*")
            assert of(facts, path, f"c{n}") != Unknown("the facts don't include it"), path


@pytest.mark.parametrize("key", ["Id", "Names", "State", "Labels"])
def test_no_row_of_the_list_is_a_crash(engine: FakeEngine, key: str) -> None:
    engine.rows = [{**row("web"), key: value} for value in GARBAGE] + [row("last")]
    engine.told = {"id-web": told(), "id-last": told()}
    assert of(measure(engine), "state", "last") == "running"


@pytest.mark.parametrize("garbage", [None, 7, "x", [None, 7, {}], {"a": 1}, [{"Id": 5}]])
def test_no_list_is_a_crash(engine: FakeEngine, garbage: Any) -> None:
    engine.rows = garbage
    found = measure(engine).get(("stack", "containers"))
    assert found == {} or isinstance(found, Unknown)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.250000001Z", 10.250000001),
        ("1970-01-01T02:00:10+02:00", 10.0),
        ("1969-12-31T23:30:10-00:30", 10.0),
        ("0001-01-01T00:00:00Z", None),
        ("1970-13-01T00:00:00Z", None),
        ("now", None),
        (None, None),
    ],
)
def test_times(text: Any, seconds: float | None) -> None:
    assert parse_time(text) == seconds
