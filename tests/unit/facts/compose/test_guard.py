"""The line that decides a value is known, whichever file it came from."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compose_projects import read_case, read_project
from preflight.facts.collect.measurement import Options
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError, Need
from preflight.model.facts import FileLine

PLACES = [
    ("llm-stack", "ollama", "compose.yaml", 2),
    ("llm-stack", "ollama image", "compose.yaml", 3),
    ("llm-stack", "ollama environment OLLAMA_KEEP_ALIVE", "compose.yaml", 6),
    ("llm-stack", "ollama deploy resources limits memory", "compose.yaml", 15),
    ("llm-stack", "ollama ports 11434", "compose.yaml", 11),
    ("llm-stack", "ollama volumes /root/.ollama", "compose.yaml", 9),
    ("llm-stack", "api environment OLLAMA_URL", "compose.yaml", 28),
    ("llm-stack", "api ports 8000", "compose.yaml", 34),
    ("llm-stack", "api mem_limit", "compose.yaml", 35),
    ("llm-stack", "webui volumes /app/backend/data", "compose.yaml", 42),
    ("llm-stack", "webui depends_on api", "compose.yaml", 38),
    ("override", "web", "compose.yaml", 2),
    ("override", "web image", "compose.prod.yaml", 3),
    ("override", "web environment A", "compose.prod.yaml", 5),
    ("override", "web environment B", "compose.yaml", 5),
    ("override", "web deploy resources limits memory", "compose.prod.yaml", 9),
    ("override", "web deploy resources limits cpus", "compose.yaml", 9),
    ("override", "web ports 81", "compose.yaml", 6),
    ("override", "web ports 80", "compose.prod.yaml", 6),
    ("override", "web volumes /data", "compose.prod.yaml", 7),
    ("override", "web volumes /src", "compose.yaml", 7),
    ("override", "cache", "compose.prod.yaml", 10),
    ("override-reset", "web ports 90", "o.yaml", 4),
    ("anchors-and-merges", "one restart", "compose.yaml", 3),
    ("anchors-and-merges", "one mem_limit", "compose.yaml", 8),
    ("anchors-and-merges", "one cpus", "compose.yaml", 13),
    ("anchors-and-merges", "two environment ZONE", "compose.yaml", 6),
    ("anchors-and-merges", "two environment LEVEL", "compose.yaml", 18),
    ("anchors-and-merges", "three", "compose.yaml", 19),
    ("extends-same-file", "grandchild", "compose.yaml", 13),
    ("extends-same-file", "grandchild mem_limit", "compose.yaml", 12),
    ("extends-same-file", "grandchild environment A", "compose.yaml", 4),
    ("extends-same-file", "grandchild environment B", "compose.yaml", 10),
    ("extends-other-file", "web cpus", "deeper.yaml", 4),
    ("extends-other-file", "web volumes /theirs", "common/base.yaml", 5),
    ("extends-other-file", "web volumes /mine", "compose.yaml", 4),
    ("extends-other-file", "web environment FROM", "common/base.env", 2),
    ("extends-other-file", "web environment LEVEL", "compose.yaml", 5),
    ("include", "db image", "infra/compose.yaml", 4),
    ("include", "cache", "infra/nested/compose.yaml", 2),
    ("env-file", "many environment LEVEL", "more.env", 1),
    ("env-file", "one environment LEVEL", "compose.yaml", 5),
    ("port-ranges", "ranges ports 3000", None, 0),
    ("port-ranges", "ranges ports 9000", "compose.yaml", 4),
    ("port-ranges", "ranges ports 9001", "compose.yaml", 4),
    ("port-ranges", "ranges ports 7000-7005", "compose.yaml", 4),
]


@pytest.mark.parametrize(("case", "keys", "file", "line"), PLACES)
def test_the_place_of_a_value(
    case: str, keys: str, file: str | None, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = read_case(case, monkeypatch)[0].guard.positions
    wanted = None if file is None else FileLine(file, line)
    assert positions.get(("services", *keys.split())) == wanted


def test_a_file_elsewhere_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    file = tmp_path / "compose.yaml"
    file.write_text("services: {a: {image: x}}\n", "utf-8")
    monkeypatch.chdir(tmp_path / "here")
    guard = read_project(["../compose.yaml"]).guard
    assert guard.positions["services", "a"] == FileLine(str(file), 1)


NEEDS = """
include: [{path: other.yaml}]
services:
  a:
    image: x
    gpus: all
    attach: false
    depends_on:
      b: {condition: service_started, restart: true, required: false}
    env_file: [{path: a.env, required: false}]
  b:
    provider: {type: cloud}
configs: {c: {content: text}}
"""


def test_newer_features_tell_the_version_that_brought_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(NEEDS, "utf-8")
    Path("other.yaml").write_text("services: {c: {image: y}}\n", "utf-8")
    Path("o.yaml").write_text("services:\n  a:\n    ports: !override []\n", "utf-8")
    guard = read_project(["compose.yaml", "o.yaml"]).guard
    assert set(guard.needs.values()) == {
        Need("2.20.3", "include", FileLine("compose.yaml", 2)),
        Need("2.30.0", "gpus", FileLine("compose.yaml", 6)),
        Need("2.20.0", "attach", FileLine("compose.yaml", 7)),
        Need("2.17.0", "depends_on.restart", FileLine("compose.yaml", 9)),
        Need("2.20.0", "depends_on.required", FileLine("compose.yaml", 9)),
        Need("2.24.0", "env_file.required", FileLine("compose.yaml", 10)),
        Need("2.36.0", "provider", FileLine("compose.yaml", 12)),
        Need("2.23.1", "configs.content", FileLine("compose.yaml", 13)),
        Need("2.24.4", "!override", FileLine("o.yaml", 3)),
    }


def test_a_plain_file_needs_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_case("web-app", monkeypatch)[0].guard.needs == {}


def test_a_large_file_is_read_within_a_second(tmp_path: Path) -> None:
    service = "\n    image: x\n    environment: {A: '1', B: '${B:-2}'}\n    mem_limit: 1g\n"
    text = "services:\n" + "".join(
        f"  s{n}:{service}    ports: ['{n}:80']\n" for n in range(1, 501)
    )
    (tmp_path / "compose.yaml").write_text(text, "utf-8")
    begin = time.perf_counter()
    reading = read_project([str(tmp_path / "compose.yaml")]).reading
    assert time.perf_counter() - begin < 1
    assert len(reading.config["services"]) == 500


ONE = "services:\n  a:\n    image: x\n"
ENV_FILE = ONE + "    env_file: {file}\n"
NAMING = {
    "env_file": ONE + "    env_file: {file}\n",
    "env_file, hidden": ONE + '    "env\\u005ffile": {file}\n',
    "extends": "services:\n  a:\n    extends: {{file: {file}, service: b}}\n",
    "include": "include: [{file}]\n" + ONE,
    "env_file of include": "include: [{{path: base.yaml, env_file: {file}}}]\n" + ONE,
    "env_file, in Base64": ONE + "    !!binary ZW52X2ZpbGU=: {file}\n",
    "env_file, merged": "x-a: &a {{env_file: [{{path: {file}}}]}}\n" + ONE + "    !!merge <<: *a\n",
    "env_file, by a variable": ONE + "    env_file: ${{NOBODY:-{file}}}\n",
    "env_file of a base": "services:\n  a: {{extends: {{file: several.yaml, service: b}}}}\n",
    "env_file of a base, by a variable": (
        'services:\n  a: {{extends: {{file: several.yaml, service: "${{NOBODY:-b}}"}}}}\n'
    ),
    "a second include": "include: [base.yaml, {{path: [base.yaml, second.yaml]}}]\n",
    "an include again": (
        "include: [{{path: third.yaml, env_file: a.env}}, {{path: third.yaml, env_file: b.env}}]\n"
    ),
    "secrets": ONE + "secrets: {{s: {{file: {file}}}}}\n",
    "configs": ONE + "configs: {{c: {{file: {file}}}}}\n",
    "label_file": ONE + "    label_file: {file}\n",
}
NAMED = {"absolute": "{outside}", "above": "../outside", "a link": "link"}


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("naming", NAMING)
def test_a_file_outside_is_refused_and_compose_not_asked(
    naming: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "bin").mkdir(parents=True)
    monkeypatch.chdir(project)
    (tmp_path / "outside").write_text("TOKEN=sekret-1234abcd\n")
    Path("link").symlink_to("../outside")
    Path("base.yaml").write_text("services: {b: {image: x}}\n")
    file = NAMED[named].format(outside=tmp_path / "outside")
    several = "services: {b: {image: x, env_file: FILE}}\n---\nservices: {c: {image: x}}\n"
    Path("several.yaml").write_text(several.replace("FILE", file))
    Path("second.yaml").write_text(ENV_FILE.format(file=file))
    Path("third.yaml").write_text(ENV_FILE.format(file="${WHERE}"))
    Path("a.env").write_text("WHERE=link-to-nothing\n")
    Path("b.env").write_text(f"WHERE={file}\n")
    Path("compose.yaml").write_text(NAMING[naming].format(file=file))
    program = Path("bin/docker-compose")
    program.write_text("#!/bin/sh\necho asked > asked\n")
    program.chmod(0o755)
    with pytest.raises(ComposeError) as error:
        load_project(Options(), {"PATH": str(program.parent), "DOCKER_CONFIG": "/nowhere"})
    assert "lies outside of the project and its repository" in str(error.value)
    assert f"PREFLIGHT_ALLOW_READ={tmp_path}" in str(error.value)
    assert "sekret" not in str(error.value)
    assert not Path("asked").exists()


def test_a_long_chain_of_extends_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    links = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(60))
    Path("compose.yaml").write_text(f"services:\n{links}  s60: {{image: x, env_file: /etc/x}}\n")
    with pytest.raises(ComposeError, match=r"lies outside|or than 50 in a chain"):
        read_project(["compose.yaml"])


def test_a_long_chain_of_includes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(60):
        Path(f"f{n}.yaml").write_text(f"include: [f{n + 1}.yaml]\n")
    Path("f60.yaml").write_text(ONE)
    with pytest.raises(ComposeError, match="or than 50 in a chain"):
        read_project(["f0.yaml"])


def test_includes_that_multiply_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        Path(f"f{n}.yaml").write_text(f"include: [f{n + 1}.yaml, ./f{n + 1}.yaml]\n")
    Path("f12.yaml").write_text(ONE)
    with pytest.raises(ComposeError, match="more than 2000 files"):
        read_project(["f0.yaml"])
