"""What Compose refuses our own reading refuses too, or lists, and says where and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compose_agrees import ask_compose

from preflight.facts.compose.known import SERVICE, TOP
from preflight.facts.compose.project import LARGEST, ComposeError, Reading
from preflight.facts.compose.reading import read

ONE = "services:\n  a:\n    image: x\n"


def reading_of(folder: Path, *files: str, **environ: str) -> Reading:
    return read(files or ("compose.yaml",), str(folder), environ)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


REFUSED = {
    # what the YAML is
    "empty": ("", "compose.yaml: it is empty"),
    "comment": ("# nothing\n", "compose.yaml: it is empty"),
    "nothing": ("---\n", "compose.yaml:2:1: it is nothing, expected a mapping with services"),
    "list": ("- a\n", "compose.yaml:1:1: it is a list, expected a mapping"),
    "word": ("hello\n", "compose.yaml:1:1: it is text, expected a mapping"),
    "no-yaml": ("a: b: c\n", "compose.yaml:1:5: it is no YAML: mapping values are not allowed"),
    "tabs": ("services:\n\ta: x\n", "compose.yaml:2:1: it is no YAML: found character"),
    "key-twice": (ONE + "    image: y\n", "compose.yaml:4:5: the key 'image' is there already, at"),
    "key-number": ("services:\n  1: {image: x}\n", "compose.yaml:2:3: the key 1 is a number"),
    "unknown-alias": (ONE + "    user: *b\n", "compose.yaml:4:11: the alias *b has no anchor"),
    "alias-in-itself": ("services: &s\n  a: *s\n", "compose.yaml:2:6: the anchor &s contains its"),
    "merge-of-text": (ONE + "    <<: 5\n", "compose.yaml:4:9: a merge with << takes a mapping"),
    "yaml-1.2": ("%YAML 1.2\n---\n" + ONE, "compose.yaml:1:1: Compose reads %YAML 1.1 alone"),
    # the top
    "services-list": ("services: [a]\n", "compose.yaml:1:1: services is a list, expected"),
    "services-nothing": ("services:\n", "compose.yaml:1:10: services is nothing, expected"),
    "unknown-top": (ONE + "serivces: {}\n", "did you mean 'services'?"),
    "service-text": ("services:\n  a: x\n", "compose.yaml:2:6: services.a is text, expected a ma"),
    "service-nothing": ("services:\n  a:\n", "compose.yaml:2:5: services.a is nothing, expected"),
    "service-name": ("services:\n  a b: {image: x}\n", "'a b' is no name of a service"),
    "name-number": ("name: 5\n" + ONE, "name is a number 5, expected text: write it in quotation"),
    "name-template": ("name: '${'\n" + ONE, "compose.yaml:1:7: name: '${': expected ${NAME}"),
    "name-of-nothing": ("name: '---'\n" + ONE, "compose.yaml:1:7: name gives no project name"),
    "include-text": (ONE + "include: x.yaml\n", "include is text, expected a list"),
    # types and keys of a service
    "unknown-key": (ONE + "    memory: 5g\n", "compose.yaml:4:13: services.a has no key 'memory'"),
    "typo": (ONE + "    enviroment: {A: b}\n", "'enviroment', did you mean 'environment'?"),
    "nested-typo": (
        ONE + "    deploy: {resources: {limit: {memory: 1g}}}\n",
        "services.a.deploy.resources has no key 'limit', did you mean 'limits'?",
    ),
    "ports-text": (ONE + "    ports: 80:80\n", "services.a.ports is text, expected a list"),
    "environment-nothing": (ONE + "    environment:\n", "services.a.environment is nothing"),
    "environment-list": (ONE + "    environment: {A: [1]}\n", "services.a.environment.A is a list"),
    "environment-line": (ONE + '    environment: {"A\\nB": [1]}\n', r"environment.A\nB is a list"),
    "environment-date": (ONE + "    environment: {A: 2020-01-01}\n", ".A is a date, expected text"),
    "environment-space": (ONE + "    environment: ['A =1']\n", "'A ' with a space at its end"),
    "environment-number": (ONE + "    environment: [5]\n", "has a number in its list, expected NA"),
    "image-number": ("services:\n  a:\n    image: 5\n", "compose.yaml:3:12: services.a.image is a"),
    "cpus-boolean": (ONE + "    cpus: true\n", "services.a.cpus is a boolean true, expected"),
    "command-number": (ONE + "    command: [a, 1]\n", "services.a.command is a number 1, expected"),
    "container-name": (ONE + "    container_name: x\n", "services.a.container_name is 'x'"),
    # figures
    "memory-Gi": (
        ONE + "    deploy: {resources: {limits: {memory: 8Gi}}}\n",
        "compose.yaml:4:43: services.a.deploy.resources.limits.memory: '8Gi' is no size: write 8G",
    ),
    "memory-lots": (ONE + "    mem_limit: lots\n", "'lots' is no size: expected one such as 512m"),
    "memory-number": (
        ONE + "    deploy: {resources: {limits: {memory: 8}}}\n",
        "limits.memory is a number 8, expected text: write it in quotation marks, '8'",
    ),
    "memory-negative": (ONE + "    mem_limit: '-1'\n", "'-1' is no size"),
    "memory-empty": (ONE + "    mem_limit: ${UNSET}\n", "services.a.mem_limit: '' is no size"),
    "cpus-percent": (ONE + "    cpus: 50%\n", "services.a.cpus: '50%' is no number of processors"),
    "replicas-word": (ONE + "    deploy: {replicas: many}\n", "'many' is no whole number"),
    "replicas-half": (ONE + "    deploy: {replicas: 1.5}\n", "1.5 is no whole number"),
    "replicas-negative": (ONE + "    deploy: {replicas: -1}\n", "is -1: it must be 0 or more"),
    "scale-word": (ONE + "    scale: a\n", "services.a.scale: 'a' is no whole number"),
    "read-only": (ONE + "    read_only: maybe\n", "'maybe', expected true or false"),
    "gpus": (ONE + "    gpus: some\n", "services.a.gpus is 'some', expected all or a list"),
    "gpu-count": (
        ONE + "    gpus: [{count: few}]\n",
        "services.a.gpus.0.count: 'few' is no whole number",
    ),
    "gpu-count-and-ids": (
        ONE + "    gpus: [{count: 1, device_ids: ['0']}]\n",
        "count and device_ids exclude each other",
    ),
    # ports and volumes
    "port-word": (ONE + "    ports: ['http:80']\n", "'http:80': expected [ADDRESS:][PORT:]PORT"),
    "port-large": (ONE + "    ports: ['70000:80']\n", "'70000:80': expected"),
    "port-protocol": (ONE + "    ports: ['80:80/http']\n", "'80:80/http': expected"),
    "port-address": (ONE + "    ports: ['localhost:80:80']\n", "'localhost:80:80': expected"),
    "port-ranges": (ONE + "    ports: ['1-2:1-3']\n", "'1-2:1-3': expected"),
    "port-nought": (ONE + "    ports: ['80:0']\n", "'80:0': expected"),
    "port-zone": (ONE + "    ports: ['[fe80::1%eth0]:80:80']\n", "'[fe80::1%eth0]:80:80': expec"),
    "port-list": (ONE + "    ports: [[80]]\n", "services.a.ports has a list, expected a port"),
    "port-target": (ONE + "    ports: [{published: 80}]\n", "has a port without target"),
    "volume-empty": (ONE + "    volumes: ['']\n", "has '': expected [SOURCE:]TARGET[:OPTIONS]"),
    "volume-type": (ONE + "    volumes: [{type: x, target: /x}]\n", "the type 'x', expected bind"),
    "volume-number": (ONE + "    volumes: [5]\n", "has a number, expected a volume such as"),
    "volume-target": (ONE + "    volumes: [{type: volume, source: a}]\n", "without target"),
    "volume-source": (ONE + "    volumes: [{type: bind, target: /x}]\n", "without source"),
    "volume-size": (
        ONE + "    volumes: [{type: tmpfs, target: /t, tmpfs: {size: {a: b}}}]\n",
        "services.a.volumes.tmpfs.size is a mapping, expected a number",
    ),
    # what is below
    "build-args": (ONE + "    build: {args: text}\n", "services.a.build.args is text, expected a"),
    "build-hosts": (
        ONE + "    build: {extra_hosts: 5}\n",
        "a.build.extra_hosts is a number 5, exp",
    ),
    "deploy-labels": (ONE + "    deploy: {labels: 5}\n", "services.a.deploy.labels is a number 5"),
    "nothing-over-nothing": (
        ONE + "---\nservices: {a: {volumes: }}\n",
        "compose.yaml:5:25: services.a.volumes is nothing, expected a list",
    ),
    # variables
    "template": (ONE + "    user: '${'\n", "compose.yaml:4:11: '${': expected ${NAME}"),
    "template-lines": (ONE + '    user: "${A:-b\\nc}"\n', "compose.yaml:4:11: '${A': expected ${N"),
    "template-operator": (
        ONE + "    user: '${A!}'\n",
        "'${A': expected :-, -, :?, ?, :+ or + next",
    ),
    # extends and include
    "extends-nothing": (ONE + "    extends: b\n", "'a': there is no service 'b' in compose.yaml"),
    "extends-itself": (
        "services:\n  a: {extends: b}\n  b: {extends: a}\n",
        "compose.yaml:2:16: circular reference: a extends b extends a",
    ),
    "extends-no-service": (
        ONE + "    extends: {file: compose.yaml}\n",
        "expects service, and file",
    ),
    "env-file-number": (ONE + "    env_file: [{path: 5}]\n", "expects a path, or a mapping with"),
    "env-file-format": (
        ONE + "    env_file: [{path: a.env, format: json}]\n",
        "services.a.env_file has the format 'json', expected raw or none",
    ),
    "env-file-required": (
        ONE + "    env_file: [{path: a.env, required: maybe}]\n",
        "services.a.env_file.required is 'maybe', expected true or false",
    ),
    "extends-no-file": (
        ONE + "    extends: {service: a, file: gone.yaml}\n",
        "compose.yaml:4:5: extends names the file gone.yaml, which is not there",
    ),
    "include-no-file": (
        "include:\n  - gone.yaml\n" + ONE,
        "compose.yaml:2:5: include names the file gone.yaml, which is not there",
    ),
    "include-number": ("include: [{path: 5}]\n" + ONE, "include expects a path, or a mapping"),
    "include-itself": (
        "include: [compose.yaml]\n" + ONE,
        "include cycle: compose.yaml includes compose.yaml",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_compose_refuses_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = REFUSED[name]
    write(tmp_path, {"compose.yaml": text})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComposeError) as error:
        reading_of(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    config, _ = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None


SEVERAL = {
    "include-conflict": (
        {"compose.yaml": "include: [b.yaml]\n" + ONE + "volumes: {v: {name: x}}\n",
         "b.yaml": "services: {b: {image: y}}\nvolumes: {v: {name: z}}\n"},
        "volumes.v conflicts with the included one at ",
    ),
    "include-no-env-file": (
        {"compose.yaml": "include: [{path: b.yaml, env_file: gone.env}]\n" + ONE,
         "b.yaml": "services: {b: {image: y}}\n"},
        "gone.env, which is not there",
    ),
    "extends-empty": (
        {"compose.yaml": ONE + "    extends: {service: a, file: b.yaml}\n", "b.yaml": "# later\n"},
        "b.yaml: it is empty: expected services",
    ),
    "env-file-variable": (
        {"compose.yaml": ONE, ".env": "A=${B:?say which}\n"},
        ".env: required variable B is missing a value: say which",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_what_compose_refuses_of_several_files_is_refused(name: str, tmp_path: Path) -> None:
    files, message = SEVERAL[name]
    write(tmp_path, files)
    with pytest.raises(ComposeError) as error:
        reading_of(tmp_path, str(tmp_path / "compose.yaml"))
    assert message in str(error.value)
    config, _ = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None


def test_a_service_of_a_remote_file_is_refused_since_nothing_is_fetched(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE + "    extends: {service: b, file: 'https://x.y/z'}\n"})
    with pytest.raises(ComposeError, match=r"the remote file '.+', which is not fetched"):
        reading_of(tmp_path, str(tmp_path / "compose.yaml"))


LISTED = {
    "memory-twice": (
        ONE + "    mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}\n",
        "services.a: can't set distinct values on 'mem_limit' and 'deploy.resources.limits.memory'",
    ),
    "memory-beside-cpus": (
        ONE + "    mem_limit: 1g\n    deploy: {resources: {limits: {cpus: 2}}}\n",
        "services.a: can't set distinct values on 'mem_limit' and 'deploy.resources.limits.memory'",
    ),
    "cpus-twice": (
        ONE + "    cpus: 1\n    deploy: {resources: {limits: {cpus: 2}}}\n",
        "services.a: can't set distinct values on 'cpus' and 'deploy.resources.limits.cpus'",
    ),
    "reservation-twice": (
        ONE + "    mem_reservation: 1g\n    deploy: {resources: {reservations: {memory: 2g}}}\n",
        "can't set distinct values on 'mem_reservation' and 'deploy.resources.reservations.memory'",
    ),
    "pids-twice": (
        ONE + "    pids_limit: 1\n    deploy: {resources: {limits: {pids: 2}}}\n",
        "services.a: can't set distinct values on 'pids_limit' and 'deploy.resources.limits.pids'",
    ),
    "scale-twice": (
        ONE + "    scale: 2\n    deploy: {replicas: 3}\n",
        "services.a: can't set distinct values on 'scale' and 'deploy.replicas'",
    ),
    "name-of-two": (
        ONE + "    container_name: one\n    scale: 2\n",
        "services.scale: can't set container_name and a as container name must be unique",
    ),
    "name-of-replicas": (
        ONE + "    container_name: one\n    deploy: {replicas: 2}\n",
        "services.deploy.replicas: can't set container_name and a as container name must be unique",
    ),
    "no-image": (
        "services:\n  a: {command: x}\n",
        'service "a" has neither an image nor a build context specified',
    ),
    "no-dependency": (
        ONE + "    depends_on: [db]\n",
        'service "a" depends on undefined service "db"',
    ),
    "inactive-dependency": (
        ONE + "    depends_on: [db]\n  db: {image: y, profiles: [p]}\n",
        'service "a" depends on undefined service "db"',
    ),
    "no-volume": (ONE + "    volumes: ['vv:/v']\n", 'service "a" refers to undefined volume vv'),
    "no-network": (ONE + "    networks: [n]\n", 'service "a" refers to undefined network n'),
    "no-secret": (ONE + "    secrets: [s]\n", 'service "a" refers to undefined secret s'),
    "no-config": (ONE + "    configs: [c]\n", 'service "a" refers to undefined config c'),
    "waits-for-itself": (
        ONE + "    depends_on: [b]\n  b: {image: y, depends_on: [a]}\n",
        "dependency cycle detected: ",
    ),
    "one-name-for-two": (
        "services:\n  a: {image: x, container_name: one}\n  b: {image: x, container_name: one}\n",
        'container name "one" is already in use by service ',
    ),
    "two-networks": (
        ONE + "    network_mode: host\n    networks: [default]\n",
        "service a declares mutually exclusive `network_mode` and `networks`",
    ),
}


@pytest.mark.parametrize("name", LISTED)
def test_a_conflict_is_listed_in_the_words_of_compose(name: str, tmp_path: Path) -> None:
    text, words = LISTED[name]
    write(tmp_path, {"compose.yaml": text})
    ((service, said),) = read([str(tmp_path / "compose.yaml")], str(tmp_path), {}).conflicts
    assert service in ("a", "b")
    assert words in said
    config, theirs = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None
    assert words in theirs


@pytest.mark.parametrize("value", ["hunter2${", "hunter2${A", "hunter2${A:=hunter2}"])
def test_a_refusal_tells_nothing_of_a_secret(value: str, tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE + f"    environment: {{PASSWORD: '{value}'}}\n"})
    with pytest.raises(ComposeError, match=r":4:29: '\$\{A?': expected") as error:
        read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    assert "hunter2" not in str(error.value)
    for text in (f"PASSWORD={value}\n", "KEY=a\nhunter2 and more=b\n"):
        write(tmp_path, {"compose.yaml": ONE, ".env": text})
        with pytest.raises(ComposeError) as error:
            read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
        assert "hunter2" not in str(error.value)


def test_a_required_variable_is_listed_and_read_as_empty(tmp_path: Path) -> None:
    text = (
        "services:\n  a:\n    image: ${IMAGE:?say which}\n    mem_limit: ${LIMIT?}\n    build: .\n"
    )
    write(tmp_path, {"compose.yaml": text})
    reading = read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    assert reading.missing_variables == {"IMAGE": "say which", "LIMIT": ""}
    assert "mem_limit" not in reading.config["services"]["a"]
    assert reading.conflicts == ()
    config, said = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None
    assert "required variable" in said


def test_a_missing_env_file_is_listed(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE + "    env_file: [gone.env]\n    environment: {A: b}\n"})
    reading = read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    assert reading.missing_env_files == (("a", str(tmp_path / "gone.env")),)
    assert reading.config["services"]["a"]["environment"] == {"A": "b"}
    config, said = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None
    assert f"env file {tmp_path / 'gone.env'} not found" in said


def test_an_unset_variable_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": ONE + "    user: $A${B}${C:-c}\n"})
    assert read([str(tmp_path / "compose.yaml")], str(tmp_path), {}).unset_variables == ("A", "B")


def test_a_remote_include_is_not_fetched_but_told(tmp_path: Path) -> None:
    text = "include: ['https://example.org/a.git']\n" + ONE + "    depends_on: [theirs]\n"
    write(tmp_path, {"compose.yaml": text})
    reading = read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    assert reading.caveats == ("the remote include https://example.org/a.git was not fetched",)
    assert reading.conflicts == ()
    assert list(reading.config["services"]) == ["a"]


BAD_ENV_FILES = {
    "space": ("A=1\nA B=2\n", ":2:1: the name of a variable has a space"),
    "quote": ("A='x\n", ":1:3: the quotation mark is not closed"),
    "character": ("A*=1\n", ":1:2: unexpected character '*' in the name"),
    "template": ("A=${B\n", ":1:1: A: '${B': expected ${NAME}"),
}


@pytest.mark.parametrize("name", BAD_ENV_FILES)
@pytest.mark.parametrize("file", [".env", "app.env"])
def test_an_env_file_that_is_none_is_refused(name: str, file: str, tmp_path: Path) -> None:
    text, message = BAD_ENV_FILES[name]
    write(tmp_path, {"compose.yaml": ONE, file: text})
    if file == "app.env":
        write(tmp_path, {"compose.yaml": ONE + "    env_file: app.env\n"})
    with pytest.raises(ComposeError) as error:
        read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    assert f"{file}{message}" in str(error.value)
    config, _ = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is None


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    def said(content: bytes | None) -> str:
        file = tmp_path / "compose.yaml"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ComposeError) as error:
            read([str(file)], str(tmp_path), {})
        return str(error.value)

    assert "it can't be read: No such file" in said(None)
    assert "compose.yaml:2:4: it is not UTF-8 text" in said(b"a: b\nc: \xff\n")
    assert "it is no YAML" in said(bytes(range(1, 32)))
    assert "it is larger than 4 MiB" in said(b"#" * (LARGEST + 1))
    with pytest.raises(ComposeError, match="it can't be read: Is a directory"):
        read([str(tmp_path)], str(tmp_path), {})


def test_bombs_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    merges = ["a0: &a0 {b: c}"]
    merges += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    deep = "a: " + "[" * 5000
    braces = ONE + "    user: '" + "${A:-" * 5000 + "}" * 5000 + "'\n"
    long = ONE + "    user: '" + "${A:-x}" * 300_000 + "'\n"
    for text in ("\n".join(lines), "\n".join(merges), deep, "a: {" * 5000, braces):
        write(tmp_path, {"compose.yaml": text})
        with pytest.raises(ComposeError, match=r"grow beyond|levels deep|go too deep"):
            read([str(tmp_path / "compose.yaml")], str(tmp_path), {})
    write(tmp_path, {"compose.yaml": long})
    assert len(read([str(tmp_path / "compose.yaml")], str(tmp_path), {}).config["services"]) == 1
    grows = {f"V{n}": f"${{V{n - 1}}}" * 10 for n in range(1, 9)}
    text = "".join(f"{name}={value}\n" for name, value in {"V0": "x" * 1000, **grows}.items())
    write(tmp_path, {"compose.yaml": ONE, ".env": text})
    with pytest.raises(ComposeError, match="it grows too long"):
        read([str(tmp_path / "compose.yaml")], str(tmp_path), {})


def test_what_multiplies_is_refused(tmp_path: Path) -> None:
    ports = ONE + "    ports: ['1-65535:1-65535', '1-65535:1-65535/udp']\n"
    labels = ", ".join(f"k{n}: v" for n in range(9000))
    children = "".join(f"  c{n}: {{extends: a}}\n" for n in range(200))
    texts = "".join(f"      k{n}: $V$V$V$V\n" for n in range(1000))
    for text, message in (
        (ports, "more than 65536 ports"),
        (f"{ONE}    labels: {{{labels}}}\n{children}", "grows beyond 1000000 values"),
        (f"{ONE}    labels:\n{texts}", "it grows too long"),
    ):
        write(tmp_path, {"compose.yaml": text})
        with pytest.raises(ComposeError, match=message):
            read([str(tmp_path / "compose.yaml")], str(tmp_path), {"V": "x" * 20_000})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.env")
    write(tmp_path, {"compose.yaml": ONE + "    env_file: pipe.env\n"})
    with pytest.raises(ComposeError, match="it is no file"):
        read([str(tmp_path / "compose.yaml")], str(tmp_path), {})


def test_includes_that_multiply_are_refused(tmp_path: Path) -> None:
    for n in range(12):
        write(tmp_path, {f"f{n}.yaml": f"include: [f{n + 1}.yaml, ./f{n + 1}.yaml]\n"})
    write(tmp_path, {"f12.yaml": ONE})
    with pytest.raises(ComposeError, match="more than 2000 files"):
        read([str(tmp_path / "f0.yaml")], str(tmp_path), {})


WORDS = st.sampled_from(
    ["services:", "a:", "image: x", "extends: a", "- b", "<<: *x", "&x", "*x", "{", "}", "[", "]",
     "ports:", "'80:80'", "volumes:", "environment:", "A=1", "${A:-b}", "${", "!reset", "!override",
     "!!str", "deploy:", "resources:", "limits:", "memory: 1g", "cpus: 2", "|", ">-", "---", "5",
     "null", "include:", "env_file:", "build:", "depends_on:", "networks:", "gpus: all", "~"]
)  # fmt: skip
SOUP = st.lists(st.tuples(st.integers(0, 4), WORDS), max_size=12).map(
    lambda parts: "\n".join("  " * indent + word for indent, word in parts).encode()
)


VALUES = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 1.5, 1e400, 2**70, "", "a", "1g", "all", "80:80", "./a:/b", "A=1",
         "${X:?}", "$X", "${X:?}:80", "service:a", "b", "\0", "-", "~/x"]
    ),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["a", "b", "resources", "limits", "reservations", "memory", "cpus", "devices",
                 "count", "options", "driver", "path", "required", "target", "source", "type",
                 "published", "replicas", "file", "service", "context", "x-a", "condition"]
            ),
            below,
            max_size=3,
        ),
    ),
    max_leaves=6,
)  # fmt: skip
SERVICES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(sorted(SERVICE)), VALUES, min_size=1, max_size=4),
    min_size=1,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=SERVICES, second=SERVICES, top=st.dictionaries(st.sampled_from(sorted(TOP)), VALUES))
def test_any_values_end_in_a_reading_or_one_line(
    first: object, second: object, top: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    files = {"a.yaml": {**top, "services": first}, "b.yaml": {"services": second}}
    for name, value in files.items():
        text = json.dumps(value).replace("Infinity", ".inf")
        (folder / name).write_text(text, "utf-8")
    try:
        reading = read([str(folder / name) for name in files], str(folder), {})
        said = ""
    except ComposeError as error:
        said = str(error)
    assert "\n" not in said
    assert said or json.dumps(reading.config)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.one_of(st.binary(max_size=200), SOUP), dotenv=st.binary(max_size=60))
def test_any_bytes_end_in_a_reading_or_one_line(
    content: bytes, dotenv: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "compose.yaml").write_bytes(content)
    (folder / ".env").write_bytes(dotenv)
    try:
        reading = read([str(folder / "compose.yaml")], str(folder), dict(os.environ))
        said = ""
    except ComposeError as error:
        said = str(error)
    assert "\n" not in said
    assert said or isinstance(reading.config["services"], dict)
