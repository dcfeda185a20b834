"""What a known error means is told by the log, the rule file and the facts together."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from bundled_rules import bundled_rules
from log_matchers import share_matchers
from paths import ROOT
from preflight import check as pipeline
from preflight.cli.diagnose import build_log_report
from preflight.evaluate.diagnoses import describe_container_states
from preflight.logs.log_searcher import LogSearcher
from preflight.model.diagnosis import DiagnosisFinding, LogReport
from preflight.model.facts import Facts, Unknown
from preflight.render import RenderOptions, diagnosis
from preflight.snapshot.facts_file import read_snapshot

RULES = bundled_rules(known_errors=True)
NEEDS = "Error: model requires more system memory ({}) than is available ({})"
KILLED = (
    "[1.000001] Memory cgroup out of memory: Killed process 4242 (ollama) total-vm:9999999kB, "
    "anon-rss:4194304kB, file-rss:0kB"
)


@pytest.fixture(autouse=True)
def shared_matchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the patterns once."""
    share_matchers(monkeypatch)


def facts(**changed: Any) -> Facts:
    """The document's stack on Docker Desktop, some facts another."""
    snapshot = json.loads((ROOT / "tests/cases/document-stack-on-desktop/facts.json").read_text())
    for path, value in {"stack__containers": {}, **changed}.items():
        node = snapshot["facts"]
        *above, last = path.split("__")
        for segment in above:
            node = node.setdefault(segment, {})
        node[last] = value
        snapshot["unknown"].pop(".".join([*above, last]), None)
    read = read_snapshot(json.dumps(snapshot).encode(), "facts.json")
    return pipeline.add_derived_facts(read, RULES)


def diagnosed(*lines: str, name: str = "a.log", known: Facts | None = None) -> LogReport:
    reader = LogSearcher(RULES.diagnoses)
    reader.add_log(name, io.BytesIO("\n".join(lines).encode()))
    return build_log_report(RULES, reader, known or Facts({}))


def only(*lines: str, name: str = "a.log", known: Facts | None = None) -> DiagnosisFinding:
    told = diagnosed(*lines, name=name, known=known)
    assert len(told.findings) == 1, [one.id for one in told.findings]
    return told.findings[0]


def advice(one: DiagnosisFinding) -> str:
    return "\n".join(f"{fix.text}\n{fix.command or ''}" for fix in one.fixes)


def test_without_facts_the_log_and_the_models_say_what_to_do() -> None:
    one = only(NEEDS.format("5.7 GiB", "2.8 GiB"))
    assert one.figures == "needs 5.7 GiB, had 2.8 GiB"
    (rule,) = (rule for rule in RULES.diagnoses if rule.id == one.id)
    assert (one.title, one.cause) == (rule.title, rule.cause)
    assert one.cause
    assert dict(one.values) == {"required": "5.7 GiB", "available": "2.8 GiB"}
    assert "at least 2.9 GiB more memory" in advice(one)
    assert "phi:latest (1.6 GB)" in advice(one)
    assert "Docker has" not in advice(one)


@pytest.mark.parametrize(
    ("available", "model"),
    [("2.8 GiB", "phi:latest (1.6 GB)"), ("1.45 GiB", "gemma:2b (1.4 GB)"),
     ("1.6 GB", "phi:latest (1.6 GB)"), ("700 MiB", "tinyllama:latest (637 MB)"),
     ("4.1 GiB", "mistral:7b-instruct-q4_0 (4 GB)")],
)  # fmt: skip
def test_the_model_that_fits_is_the_largest(available: str, model: str) -> None:
    assert model in advice(only(NEEDS.format("9 GiB", available)))


@pytest.mark.parametrize(
    ("required", "more"),
    [
        ("5.7 GiB", "at least 2.9 GiB more memory"),
        ("5.71 GiB", "at least 3 GiB more memory"),  # enough, so rounded up
        ("2.8 GiB", None),
    ],
)
def test_how_much_more_memory_it_takes(required: str, more: str | None) -> None:
    told = advice(only(NEEDS.format(required, "2.8 GiB")))
    assert more in told if more else "more than now" not in told


def test_the_model_that_failed_is_not_offered() -> None:
    needs = NEEDS.format("4.7 GiB", "4.1 GiB")  # by the table it would fit
    assert "mistral:7b-instruct-q4_0" in advice(only(needs))
    known = facts(model__name="mistral:7b-instruct-q4_0")
    assert "OLLAMA_MODEL=phi:latest" in advice(only(needs, known=known))


def test_where_no_model_fits_none_is_named() -> None:
    told = advice(only(NEEDS.format("5.7 GiB", "500 MiB")))
    assert "take a model" not in told
    assert "latest" not in told


def test_a_bare_number_of_bytes_is_written_as_people_do() -> None:
    line = (
        'msg="model request too large for system" requested="5.7 GiB" available=3006477107'
        ' total="7.6 GiB"'
    )
    one = only(line)
    assert one.figures == "needs 5.7 GiB, had 2.8 GiB"
    assert "at least 2.9 GiB more memory" in advice(one)


def test_figures_that_cannot_be_read_spoil_nothing() -> None:
    one = only(NEEDS.format("9.9.9 GiB", "2.8 GiB"))
    assert one.figures == "needs 9.9.9 GiB, had 2.8 GiB"
    assert "phi:latest" in advice(one)
    assert "Raise" not in advice(one)


def test_a_line_without_figures_has_none() -> None:
    one = only("model requires more system memory than is currently available")
    assert (one.figures, dict(one.values)) == (None, {})


def test_what_is_lacking_is_set_against_what_was_free() -> None:
    known = facts(
        docker__engine="docker",
        docker__memory__usable=int(5.6 * 2**30),
        host__memory__total=int(5.6 * 2**30),
    )
    told = advice(only(NEEDS.format("5.7 GiB", "2.8 GiB"), known=known))
    assert (
        "Of Docker's 5.6 GiB of memory, only 2.8 GiB was free, 2.9 GiB less than this model needs."
        in told
    )


def test_with_facts_the_limit_to_raise_is_named() -> None:
    small = facts(docker__memory__usable=6 * 2**30)
    one = only(NEEDS.format("5.7 GiB", "2.8 GiB"), known=small)
    assert (
        "In Docker Desktop, open Settings > Resources, set Memory to 8 GB or more (now 6 GiB)"
        in advice(one)
    )
    assert one.fixes[0].url == "https://docs.docker.com/desktop/settings-and-maintenance/settings/"
    limited = facts(
        docker__engine="docker",
        docker__memory__usable=16 * 2**30,
        compose__services__ollama__limits__memory=4 * 2**30,
    )
    told = advice(only(NEEDS.format("5.7 GiB", "2.8 GiB"), known=limited))
    assert "limits.memory for ollama (now 4 GiB) by at least 2.9 GiB" in told
    assert "Docker Desktop" not in told


def test_a_kill_at_the_limit_of_ollama() -> None:
    one = only(KILLED)
    assert one.figures == "ollama (pid 4242) had 4 GiB"
    assert "for the service that was killed" in advice(one)
    known = facts(compose__services__ollama__limits__memory=4 * 2**30)
    assert "for ollama (now 4 GiB) to at most 5.8 GiB" in advice(only(KILLED, known=known))
    known = facts(
        docker__memory__usable=16 * 2**30, compose__services__ollama__limits__memory=4 * 2**30
    )
    advised = advice(only(KILLED, known=known))
    assert "Raise deploy.resources.limits.memory for ollama from 4 GiB to 8G" in advised
    assert "for the service that was killed" not in advised, "it is known which one"
    python = KILLED.replace("ollama", "python")
    assert "for ollama" not in advice(only(python, known=known)), "it was not Ollama's"


def test_the_name_of_a_log_tells_the_service() -> None:
    line = "[1] [ERROR] Worker (pid:57) was sent SIGKILL! Perhaps out of memory?"
    known = facts(compose__services__api__limits__memory=2**30)
    for name in ("api.log", "logs/api.log.2.gz", "x.zip:logs/api.log", "C:\\logs\\api.log"):
        assert "for api from 1 GiB to 2G" in advice(only(line, name=name, known=known)), name
    assert "for api" not in advice(only(line, name="other.log", known=known))
    unknown = known._replace(unknown={"compose.services.api.limits": Unknown("cut off")})
    del unknown.values["compose"]["services"]["api"]["limits"]
    told = advice(only(line, name="api.log", known=unknown))
    assert "limits.memory for the API service to 2G" in told
    assert "GiB" not in told


@pytest.mark.parametrize("prefix", ["api-1  | ", "api_1    | ", "api-2 | 2026-03-01T10:00:00Z "])
def test_compose_names_the_service_before_the_line(prefix: str) -> None:
    line = f"{prefix}[1] [ERROR] Worker (pid:57) was sent SIGKILL! Perhaps out of memory?"
    known = facts(compose__services__api__limits__memory=2**30)
    assert "for api from 1 GiB to 2G" in advice(only(line, name="all.log", known=known))
    assert "for api" not in advice(only(f"x{line}", name="all.log", known=known))
    unnumbered = f"api  | {line.removeprefix(prefix)}"
    assert "for api" not in advice(only(unnumbered, name="all.log", known=known))


@pytest.mark.parametrize(
    ("line", "figures"),
    [
        ("shop-api-1 exited with code 137", "shop-api-1"),
        ("write /var/lib/x/layer.tar: no space left on device", "/var/lib/x/layer.tar"),
        ("OSError: [Errno 28] No space left on device: '/models'", "/models"),
        ("services.web.ports must be a list", "services.web.ports"),
        ('Get "https://reg.local:5000/v2/": x509: certificate has expired', "reg.local:5000"),
        (
            'error mounting "/srv/a.conf" to rootfs at "/etc/a.conf": mount: not a directory',
            "/srv/a.conf onto /etc/a.conf",
        ),
    ],
)
def test_what_the_line_names_is_in_the_figures(line: str, figures: str) -> None:
    assert only(line).figures == figures


@pytest.mark.parametrize("name", ["api.log", "stack.containers.api-1", "x.zip:logs/api-1.log"])
def test_an_error_of_the_model_is_about_ollama_whatever_the_log_is_called(name: str) -> None:
    """The API's log repeats what Ollama answered; raising the limit of the API changes nothing."""
    known = facts(
        docker__engine="docker",
        docker__memory__usable=16 * 2**30,
        compose__services__api__limits__memory=2**30,
        compose__services__ollama__limits__memory=4 * 2**30,
        stack__containers={
            "api-1": {"service": "api", "memory": {"limit": 2**30}},
            "ollama-1": {"service": "ollama", "memory": {"limit": 3 * 2**30}},
        },
    )
    for line in (NEEDS.format("5.7 GiB", "2.8 GiB"), "llama runner process no longer running: -1"):
        advised = advice(only(line, name=name, known=known))
        assert "limits.memory for ollama " in advised, "as the running container has it"
        assert "for api" not in advised


def test_of_two_services_that_run_ollama_the_one_with_the_error_is_named() -> None:
    known = facts(
        docker__engine="docker",
        docker__memory__usable=16 * 2**30,
        compose__services__second={
            "known_as": ["second", "ollama"], "limits": {"memory": 2 * 2**30},
        },
    )  # fmt: skip
    line = NEEDS.format("5.7 GiB", "2.8 GiB")
    assert "for second (now 2 GiB)" in advice(only(line, name="second.log", known=known))


def test_a_finding_says_how_often_where_and_in_which_words() -> None:
    line = NEEDS.format("5.7 GiB", "2.8 GiB")
    told = diagnosed("starting", NEEDS.format("9 GiB", "2.8 GiB"), "waiting", line)
    assert (told.files, told.line_count) == (("a.log",), 4)
    (one,) = told.findings
    assert (one.occurrences, one.first.line, one.last.line, one.excerpt) == (2, 2, 4, line)


def written(patterns: str, *fixes: str) -> list[str]:
    """What the fixes of a diagnosis of one's own say to the line `needs 5 of memory`."""
    rules = f"""
version: 1
diagnoses:
  - {{id: own, title: Own, patterns: ['{patterns}'], fixes: [{", ".join(fixes)}]}}
"""
    ruleset = pipeline.load_ruleset("r.yaml", lambda _: rules.encode())
    reader = LogSearcher(ruleset.diagnoses)
    reader.add_log("a.log", io.BytesIO(b"needs 5 of memory"))
    (one,) = build_log_report(ruleset, reader).findings
    return [fix.text for fix in one.fixes]


@pytest.mark.parametrize("name", ["number", "actual", "expected", "missing", "item"])
def test_a_group_may_have_any_name(name: str) -> None:
    assert written(f"needs (?P<{name}>[0-9]+)", f"{{text: 'get {{{name}}}'}}") == ["get 5"]


def test_a_fix_for_where_no_service_is_known() -> None:
    fixes = ("{when: {service: {exists: false}}, text: look which service it is}", "{text: wait}")
    assert written("needs", *fixes) == ["look which service it is", "wait"]


def test_what_another_explains_is_not_told() -> None:
    killed = 'error="llama runner process has terminated: signal: killed"'
    assert only(killed).id == "ollama-runner-killed"
    assert only(killed, KILLED).id == "killed-at-container-limit"
    assert only("ollama-1 exited with code 137", '"OOMKilled": true').id == "container-oom-killed"
    assert only("ollama-1 exited with code 137", '"OOMKilled": false').id == "exit-code-137"


def test_worst_first() -> None:
    told = diagnosed(
        "Child process [12] died",
        'error="timed out waiting for llama runner to start"',
        "write x: no space left on device",
        NEEDS.format("5.7 GiB", "2.8 GiB"),
    )
    assert [(one.id, one.confidence) for one in told.findings] == [
        ("model-needs-more-memory", "certain"),
        ("disk-full", "certain"),
        ("load-timed-out", "likely"),
        ("uvicorn-worker-died", "possible"),
    ]


def test_a_log_cannot_fill_in_facts() -> None:
    line = KILLED.replace("(ollama)", "({docker.endpoint})")
    one = only(line, known=facts())
    assert one.figures is not None
    assert "{docker.endpoint}" in one.figures
    assert ".sock" not in one.figures


def test_a_snapshot_cannot_say_what_the_log_does_not() -> None:
    known = facts(docker__memory__usable=6 * 2**30, docker__engine="docker", lacking="nothing")
    told = advice(
        only("model requires more system memory than is currently available", known=known)
    )
    assert "nothing" not in told
    assert "short of this model" not in told


def test_the_engine_says_what_a_killed_container_cannot() -> None:
    known = facts(
        stack__containers={
            "llm-ollama-1": {
                "service": "ollama", "exit_code": 137, "oom_killed": True, "restarts": 0,
                "memory": {"limit": 2 * 2**30},
            },
            "llm-api-1": {"service": "api", "exit_code": 1, "oom_killed": False, "restarts": 7},
            "llm-db-1": {"service": "db", "exit_code": None, "oom_killed": False, "restarts": 1},
        }
    )  # fmt: skip
    assert [name for name, _ in describe_container_states(known)] == [
        "stack.containers.llm-ollama-1", "stack.containers.llm-api-1"
    ]  # fmt: skip
    told = diagnosed("nothing here", known=known)
    assert (told.line_count, [one.id for one in told.findings]) == (
        1, ["container-oom-killed", "restart-loop"]
    )  # fmt: skip
    killed, loop = told.findings
    assert killed.first.file == "stack.containers.llm-ollama-1"
    assert "Raise the memory limit of ollama above 2 GiB" in advice(killed)
    assert loop.figures == "7 times"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"exit_code": 0, "oom_killed": False, "restarts": 2}, None),
        ({"exit_code": None, "oom_killed": None, "restarts": None}, None),
        ({"exit_code": 1}, "c exited with code 1\n"),
        ({"exit_code": 137, "oom_killed": True}, "c exited with code 137, OOMKilled: true\n"),
        ({"oom_killed": True, "oom_certainty": "likely"}, "c probably killed for memory\n"),
        ({"restarts": 3}, "c restarted 3 times by the engine\n"),
        (
            {"error": "port is already allocated"},
            "c could not be started: port is already allocated\n",
        ),
    ],
)
def test_the_line_of_a_container(state: dict[str, Any], line: str | None) -> None:
    said = [
        text.decode()
        for _, text in describe_container_states(facts(stack__containers={"c": state}))
    ]
    assert said == ([line] if line else [])


def test_what_the_engine_says_of_a_container_that_never_started_is_searched() -> None:
    error = 'OCI runtime create failed: exec: "app": executable file not found in $PATH: unknown'
    state = {"service": "web", "exit_code": 127, "error": error}
    (finding,) = diagnosed("nothing", known=facts(stack__containers={"c": state})).findings
    assert (finding.id, finding.first.file) == ("container-command-missing", "stack.containers.c")
    report = LogReport(("a.log", finding.first.file), 0, (finding,))
    assert diagnosis.render_log_report_text(report, 0.1, RenderOptions()).splitlines()[3:4] == [
        "    app                                                               state of c"
    ]


def test_a_name_that_is_no_text_is_told_as_far_as_it_is() -> None:
    known = Facts({"stack": {"containers": {"a\udcff": {"exit_code": 1}}}})
    assert [line for _, line in describe_container_states(known)] == [b"a? exited with code 1\n"]


@pytest.mark.parametrize(
    ("sure", "id_"),
    [("certain", "container-oom-killed"), ("likely", "container-oom-event"), ("possible", None)],
)
def test_how_sure_the_engine_is_is_how_sure_this_is(sure: str, id_: str | None) -> None:
    state = {"service": "ollama", "oom_killed": True, "oom_certainty": sure}
    told = diagnosed("nothing", known=facts(stack__containers={"c": state}))
    assert [one.id for one in told.findings] == ([id_] if id_ else [])


def test_facts_that_know_of_no_container_say_nothing() -> None:
    for values in ({}, {"stack": None}, {"stack": {"containers": None}}):
        assert not list(describe_container_states(Facts(values)))
    assert not diagnosed("nothing", known=facts()).findings


def test_where_only_states_of_containers_were_read_the_report_says_so() -> None:
    well = {"service": "api", "exit_code": 0, "oom_killed": False, "restarts": 0}
    report = build_log_report(
        RULES, LogSearcher(RULES.diagnoses), facts(stack__containers={"a": well})
    )
    assert diagnosis.render_log_report_text(report, 0.1, RenderOptions()).splitlines() == [
        "No logs: only what the engine says of the containers was read", "✔ No known error",
    ]  # fmt: skip


LIMITED = facts(
    host__os="linux", stack__containers={"a": {"service": "api", "memory": {"limit": 2**30}}}
)


@pytest.mark.parametrize("known", [None, facts(host__os="linux"), LIMITED])
@pytest.mark.parametrize(
    "line",
    [
        '"OOMKilled": true',
        "MemoryError",
        "[CRITICAL] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?",
        "write /x: no space left on device",
    ],
)
def test_the_same_command_is_not_advised_twice(line: str, known: Facts | None) -> None:
    """A fix for a limit that is known, and one for where it isn't, are one or the other."""
    one = only(line, known=known)
    commands = [fix.command for fix in one.fixes if fix.command]
    assert commands
    assert len(commands) == len(set(commands))
    assert sum("memory limit" in fix.text or "limits.memory" in fix.text for fix in one.fixes) <= 1
