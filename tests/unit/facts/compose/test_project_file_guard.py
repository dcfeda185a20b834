"""The line that decides a value is known, whichever file it came from."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from pathlib import Path

import pytest

from compose_projects import read_case, read_project_without_compose
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError, NeededComposeFeature
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
    guard = read_project_without_compose(["../compose.yaml"]).guard
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
    guard = read_project_without_compose(["compose.yaml", "o.yaml"]).guard
    assert set(guard.needs.values()) == {
        NeededComposeFeature("2.20.3", "include", FileLine("compose.yaml", 2)),
        NeededComposeFeature("2.30.0", "gpus", FileLine("compose.yaml", 6)),
        NeededComposeFeature("2.20.0", "attach", FileLine("compose.yaml", 7)),
        NeededComposeFeature("2.17.0", "depends_on.restart", FileLine("compose.yaml", 9)),
        NeededComposeFeature("2.20.0", "depends_on.required", FileLine("compose.yaml", 9)),
        NeededComposeFeature("2.24.0", "env_file.required", FileLine("compose.yaml", 10)),
        NeededComposeFeature("2.36.0", "provider", FileLine("compose.yaml", 12)),
        NeededComposeFeature("2.23.1", "configs.content", FileLine("compose.yaml", 13)),
        NeededComposeFeature("2.24.4", "!override", FileLine("o.yaml", 3)),
    }


def test_a_plain_file_needs_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_case("web-app", monkeypatch)[0].guard.needs == {}


def test_a_large_file_is_read_within_a_second(tmp_path: Path) -> None:
    service = "\n    image: x\n    environment: {A: '1', B: '${B:-2}'}\n    mem_limit: 1g\n"
    text = "services:\n" + "".join(
        f"  s{n}:{service}    ports: ['{n}:80']\n" for n in range(1, 501)
    )
    (tmp_path / "compose.yaml").write_text(text, "utf-8")
    begin = time.process_time()
    reading = read_project_without_compose([str(tmp_path / "compose.yaml")]).reading
    assert time.process_time() - begin < 1
    assert len(reading.config["services"]) == 500


ONE = "services:\n  a:\n    image: x\n"
SERVICE = ONE + "    {key}: {file}\n"
TWO_DOCUMENTS = (
    "services: {{b: {{image: x, env_file: {file}}}}}\n---\nservices: {{c: {{image: x}}}}\n"
)
SPELLINGS = {  # the ways in which YAML can say one key
    "plain": "env_file",
    "in double quotes": '"env_file"',
    "in single quotes": "'env_file'",
    "escaped": '"\\x65nv\\u005ffile"',
    "explicit": "? env_file\n    ",
    "a block": "? |-\n      env_file\n    ",
    "a folded block": "? >-\n      env_file\n    ",
    "over two lines": '? "env\\\n      _file"\n    ',
    "!!str": "!!str env_file",
    "a tag in full": "!<tag:yaml.org,2002:str> env_file",
    "no tag in particular": "! env_file",
    "!!binary": "!!binary ZW52X2ZpbGU=",
    "!!binary in quotes, over two lines": '? !!binary "ZW52X2\n      ZpbGU="\n    ',
    "!!binary in full": "!<tag:yaml.org,2002:binary> ZW52X2ZpbGU=",
    "!!binary as it stands": "!<!!binary> ZW52X2ZpbGU=",
    "an anchor": "&k env_file",
    "an anchor and a tag": "&k !!binary ZW52X2ZpbGU=",
    "a tag of one's own": "!mine env_file",
}
MERGES = {  # and the ways in which one mapping can be part of another
    "merged": "<<: {env_file: FILE}",
    "!!merge": "!!merge <<: {env_file: FILE}",
    "no tag in particular": "! <<: {env_file: FILE}",
    "in full": "!<tag:yaml.org,2002:merge> <<: {env_file: FILE}",
    "as it stands": "!<!!merge> <<: {env_file: FILE}",
    "of a list": "<<: [{labels: {}}, {!!binary ZW52X2ZpbGU=: FILE}]",
    "twice": "<<: {<<: {<<: {env_file: FILE}}}",
    "overridden": "<<: {env_file: FILE}\n    env_file: in.env",
    "reset": "<<: {env_file: FILE}\n    env_file: !reset in.env",
}
PROJECTS = {  # {file} is outside; a key before `:` is a file beside compose.yaml
    **{f"key: {name}": SERVICE.replace("{key}", key) for name, key in SPELLINGS.items()},
    **{
        f"merge: {name}": ONE
        + "    "
        + text.replace("{", "{{").replace("}", "}}").replace("FILE", "{file}")
        for name, text in MERGES.items()
    },
    "key: an alias": "x: &k env_file\n" + ONE + "    *k : {file}\n",
    "key: a handle": "%TAG !y! tag:yaml.org,2002:\n---\n"
    + ONE
    + "    !y!binary ZW52X2ZpbGU=: {file}\n",
    "an anchor of a name used twice": "x: &k {{}}\ny: &k {{env_file: {file}}}\n"
    + ONE
    + "    <<: *k\n",
    "a second document": ONE + "---\n" + ONE + "    env_file: {file}\n",
    "extends": "services:\n  a:\n    extends: {{file: {file}, service: b}}\n",
    "extends, its key in Base64": (
        "services: {{a: {{extends: {{!!binary ZmlsZQ==: {file}, service: b}}}}}}\n"
    ),
    "include": "include: [{file}]\n" + ONE,
    "include, its key in Base64": "!!binary aW5jbHVkZQ==: [{file}]\n" + ONE,
    "include, long": "include: [{{path: [base.yaml, {file}]}}]\n" + ONE,
    "env_file of include": "include: [{{path: base.yaml, env_file: {file}}}]\n" + ONE,
    "env_file, by a variable": ONE + "    env_file: ${{NOBODY:-{file}}}\n",
    "env_file, nested": ONE + "    env_file: ${{NOBODY:-${{NOTHING-{file}}}}}\n",
    "env_file, a list": ONE + "    env_file: [in.env, {{path: {file}, required: false}}]\n",
    "value in Base64": ONE + "    env_file: !!binary {base64}\n",
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder beside a file that it may not read, with a Compose that says that it was asked."""
    (tmp_path / "outside").write_text("TOKEN=sekret-1234abcd\n")
    folder = tmp_path / "project"
    (folder / "bin").mkdir(parents=True)
    (folder / "link").symlink_to("../outside")
    program = folder / "bin/docker-compose"
    program.write_text("#!/bin/sh\necho asked > asked\n")
    program.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


def assert_refused(project: Path, message: str) -> None:
    environ = {"PATH": str(project / "bin"), "DOCKER_CONFIG": "/nowhere", "HOME": "/nowhere"}
    with pytest.raises(ComposeError, match=message) as error:
        load_project(MeasurementOptions(), environ)
    assert "sekret" not in str(error.value)
    assert not Path("asked").exists()


def test_an_include_that_is_not_there_yet_says_what_to_do(project: Path) -> None:
    Path("compose.yaml").write_text("include: [sub/compose.yaml]\n" + ONE.replace("{{", "{"))
    assert_refused(
        project, r"compose.yaml:1:11: include: .*/sub isn't a folder; create it, or fetch"
    )


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("name", PROJECTS)
def test_a_file_outside_is_refused_and_compose_not_asked(
    name: str, named: str, project: Path
) -> None:
    file = NAMED[named].format(outside=project.parent / "outside")
    Path("in.env").touch()
    Path("base.yaml").write_text("services: {b: {image: x}}\n")
    Path("several.yaml").write_text(TWO_DOCUMENTS.format(file=file))
    Path("second.yaml").write_text(SERVICE.format(key="env_file", file=file))
    Path("third.yaml").write_text(SERVICE.format(key="env_file", file="${WHERE}"))
    Path("a.env").write_text("WHERE=link-to-nothing\n")
    Path("b.env").write_text(f"WHERE={file}\n")
    base64 = b64encode(file.encode()).decode()
    Path("compose.yaml").write_text(PROJECTS[name].format(file=file, base64=base64))
    is_unknown = name == "key: a tag of one's own"
    outside = f"lies outside the project and its repository.*READ={project.parent}$"
    assert_refused(project, "a key must be text, found the tag '!mine'" if is_unknown else outside)


HIDDEN = {  # what Compose would open outside, where a reader that is less exact sees a name inside
    "a name of the project": {
        "compose.yaml": "include: ['a.yaml${COMPOSE_PROJECT_NAME:+/../../outside}']", "a.yaml": ONE
    },
    "a name that comes to nothing": {
        "compose.yaml": "name: $NOBODY\ninclude: ['a.yaml${COMPOSE_PROJECT_NAME:-/../../outside}']",
        "a.yaml": ONE,
    },
    "a variable of our own": {
        "compose.yaml": "include: ['a.yaml${COMPOSE_EXPERIMENTAL_GIT_REMOTE:+/../../outside}']",
        "a.yaml": ONE,
    },
    "a letter that Go folds": {"compose.yaml": ONE + "    env_file: ..$\u017f/outside"},
    "a brace alone": {"compose.yaml": ONE + "    env_file: ${A:-{x}/../../outside}"},
    "a space of Go's in .env": {
        "compose.yaml": ONE + "    env_file: ${UP}/outside", ".env": "UP=..\u3000\n"
    },
    "an escape that is none": {
        "compose.yaml": ONE + "    env_file: ${UP}/outside", ".env": 'UP="\\0456"\n'
    },
    "bytes that aren't text": {
        "compose.yaml": ONE + "    env_file: ${UP}/outside", ".env": b"UP=\xff"
    },
    "`..` behind a link": {"compose.yaml": ONE + "    env_file: ${PWD}/folder/../outside"},
    "a folder that isn't there": {
        "compose.yaml": "include: [{path: a.yaml, project_directory: gone}]",
        "a.yaml": ONE + "    env_file: ../outside",
    },
    "two paths of an include": {
        "compose.yaml": "include: [{<<: {path: bin/x.yaml}, path: a.yaml}]",
        "a.yaml": ONE + "    env_file: ../outside",
    },
    "~ that isn't the home": {"compose.yaml": "include: ['~/../../outside']"},
    "a path of Windows": {"compose.yaml": ONE + "    env_file: 'C:/../../outside'"},
    "a key twice, by an alias: of what is merged Compose takes the first": {
        "compose.yaml": "services: {b: {}, a: {<<: {&k extends: {file: ../outside, service: b},"
        " *k : {service: b}}}}"
    },
    ".env of an include that leads outside": {
        "compose.yaml": "include: [bin/x.yaml]", "bin/x.yaml": ONE, "bin/.env": None
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_less_exact_reader_would_take_for_a_name_inside(name: str, project: Path) -> None:
    (project.parent / "folder").mkdir()
    for link, target in (("folder", "../folder"), ("\\456", ".."), (b"\xff", b"..")):
        os.symlink(target, link)
    for file, content in HIDDEN[name].items():
        if content is None:
            Path(file).symlink_to("../../outside")
        else:
            Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_refused(project, "lies outside|isn't a folder|without ~|aren't valid UTF-8|twice")


def test_a_key_that_is_defined_twice_is_refused_with_both_lines(project: Path) -> None:
    Path("compose.yaml").write_text(ONE + "    image: y\n")
    assert_refused(
        project, r"^compose.yaml:4:5: the key 'image' is defined twice, first on line 3$"
    )


def test_an_env_file_beside_a_typed_file_that_leads_outside(project: Path) -> None:
    Path("bin/compose.yaml").write_text(ONE)
    Path("bin/.env").symlink_to("../../outside")
    with pytest.raises(ComposeError, match=r"a link to .*/outside. lies outside"):
        load_project(
            MeasurementOptions(compose_files=("bin/compose.yaml",)), {"PATH": str(project / "bin")}
        )
    assert not Path("asked").exists()


def test_more_services_than_anybody_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    services = "".join(f"  s{n}: {{}}\n" for n in range(5001))
    Path("compose.yaml").write_text(f"services:\n{services}")
    with pytest.raises(
        ComposeError, match=r"yaml:5001:3: the project has more than 10000 services"
    ):
        read_project_without_compose(["compose.yaml", "compose.yaml"])


def test_a_long_chain_of_extends_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    links = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(60))
    Path("compose.yaml").write_text(f"services:\n{links}  s60: {{image: x, env_file: /etc/x}}\n")
    with pytest.raises(ComposeError, match=r"lies outside|or than 50 in a chain"):
        read_project_without_compose(["compose.yaml"])


def test_a_long_chain_of_includes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(60):
        Path(f"f{n}.yaml").write_text(f"include: [f{n + 1}.yaml]\n")
    Path("f60.yaml").write_text(ONE)
    with pytest.raises(ComposeError, match="or than 50 in a chain"):
        read_project_without_compose(["f0.yaml"])


def test_includes_that_multiply_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        Path(f"f{n}.yaml").write_text(f"include: [f{n + 1}.yaml, ./f{n + 1}.yaml]\n")
    Path("f12.yaml").write_text(ONE)
    with pytest.raises(ComposeError, match="more than 2000 files"):
        read_project_without_compose(["f0.yaml"])
