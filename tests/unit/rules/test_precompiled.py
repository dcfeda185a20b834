"""Bundled sets that come ready to use give what their YAML gives, whatever lies over them."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.util import source_hash
from pathlib import Path

import pytest

from preflight import check as pipeline
from preflight.cli.precompiled_sets import precompile_shipped_sets
from preflight.cli.streams import read_rule_file
from preflight.model.problems import InputError
from preflight.model.rules import BUNDLED_FILE_BY_SET, GENERAL_RULE_SET, KNOWN_ERRORS_SET, RuleSet
from preflight.rules.decoding_context import RuleFileContents
from preflight.rules.load import FindPrecompiledSet, load_ruleset
from preflight.rules.precompiled import load_precompiled_set, precompile_set

CATALOGUE = pipeline.build_catalogue()
KEY = "a key"


@cache
def made(name: str) -> bytes:
    return precompile_set(name, read_rule_file, CATALOGUE, KEY)


def find(name: str) -> Mapping[str, RuleFileContents] | None:
    return load_precompiled_set(made(name), KEY, read_rule_file)


def both(
    name: str, files: Mapping[str, str] | None = None, **options: object
) -> tuple[object, object]:
    """Return the rule set, or the problems, from what is ready and from the YAML alone."""

    def read(file: str) -> bytes:
        if file in BUNDLED_FILE_BY_SET:
            return read_rule_file(file)
        return (files or {})[file].encode()

    def result(find_precompiled: FindPrecompiledSet) -> object:
        load: Callable[..., RuleSet] = partial(load_ruleset, name, read, CATALOGUE)
        try:
            return load(find_precompiled=find_precompiled, **options)
        except InputError as error:
            return [str(problem) for problem in error.problems]

    return result(find), result(lambda _: None)


@pytest.mark.parametrize("name", BUNDLED_FILE_BY_SET)
@pytest.mark.parametrize("known_errors", [False, True])
def test_the_same_rules_as_the_yaml_gives(name: str, known_errors: bool) -> None:
    ready, from_yaml = both(name, known_errors=known_errors)
    assert ready == from_yaml
    assert isinstance(ready, RuleSet)
    assert ready.rules or name == KNOWN_ERRORS_SET
    assert bool(ready.diagnoses) is known_errors


def test_vars_on_the_command_line() -> None:
    ready, from_yaml = both("default", overrides={"system_overhead": "3GB", "api_service": "web"})
    assert ready == from_yaml
    assert ready != both("default")[0]


RULE = "title: A\n    fact: host.memory.total\n    require: {at_least: 1GB}"
OVER = {
    "a rule of its own": f"extends: [default]\nrules:\n  - id: own\n    {RULE}",
    "it needs a bundled one": "extends: [general]\nrules:\n  - id: own\n"
    f"    needs: [docker-reachable]\n    {RULE}",
    "a bound": "extends: [default]\nrules: [{id: host-memory, require: {at_least: 3GB}}]",
    "another fact": "extends: [default]\nrules: [{id: host-memory, fact: docker.memory.total}]",
    "a fact of another unit": "extends: [default]\nrules: [{id: host-memory, fact: host.os}]",
    "an unknown fact": "extends: [default]\nrules: [{id: host-memory, fact: host.memory.totl}]",
    "another place": "extends: [default]\nrules: [{id: docker-memory, section: Mine, tags: [x]}]",
    "switched off": "extends: [general]\nrules: [{id: docker-reachable, enabled: false}]",
    "a set over a part of it": "extends: [general, default]\nrules: []",
    "a set that is there": "extends: [default, general, images]\nrules: []",
    "a set over a file that changes a part of it": "extends: [mine.yaml, default]\nrules: []",
    "a set over a file with one of its rules": "extends: [rival.yaml, default]\nrules: []",
    "vars": "extends: [default]\nvars: {system_overhead: 4GB, ollama_min: 1GB}\nrules: []",
    "a var of another kind": "extends: [default]\nvars: {system_overhead: much}\nrules: []",
    "what it is about": "extends: [default]\napplies: {host.os: linux}\notherwise: Not Linux\n"
    "rules: [{id: host-memory, require: {at_least: 3GB}}, {id: docker-reachable, needs: []}]",
    "a circle": "extends: [default]\nrules: [{id: docker-reachable, needs: [docker-memory]}]",
    "a known error": "extends: [default]\ndiagnoses: [{id: oom-killed, title: Killed}]",
    "a diagnosis that the default overrides": "extends: [default]\n"
    "diagnoses: [{id: model-needs-more-memory, title: Too large}]",
    "a waiver": "extends: [general]\n"
    "waivers: [{rule: docker-reachable, reason: a, owner: b, until: 2099-01-01}]",
    "profiles": "extends: [default]\nprofiles: {small: {vars: {system_overhead: 1GB}}}\nrules: []",
    "a retired rule": "extends: [default]\nrules: [{id: swarm-node-lost, enabled: false}]",
    "an unknown rule": "extends: [default]\nrules: [{id: host-memory, needs: [dokcer-reachable]}]",
    "a model": "extends: [default]\nmodels: [{name: mine, memory: 3GB}]",
}
BESIDE = {
    "mine.yaml": "version: 1\nextends: [general]\nrules: [{id: docker-reachable, title: Mine}]",
    "rival.yaml": f"version: 1\nrules:\n  - id: host-memory\n    {RULE}",
}


@pytest.mark.parametrize("text", OVER.values(), ids=OVER)
@pytest.mark.parametrize("known_errors", [False, True])
def test_a_file_over_them(text: str, known_errors: bool) -> None:
    files = {"r.yaml": f"version: 1\n{text}", **BESIDE}
    ready, from_yaml = both("r.yaml", files, known_errors=known_errors)
    assert ready == from_yaml


@pytest.mark.parametrize("name", BUNDLED_FILE_BY_SET)
def test_each_entry_can_be_read_again_from_its_lines(name: str) -> None:
    """A file that names them all and changes nothing: each is composed and decoded again."""
    sets = find(name)
    assert sets is not None
    contents = sets[name]
    keys = {"rules": "id", "models": "name", "diagnoses": "id", "waivers": "rule"}
    lists = (
        f"{kind}: [{', '.join(f'{{{keys[kind]}: {key!r}}}' for key, _ in entries)}]"
        for kind, entries in contents.lists.items()
        if entries and kind in keys
    )
    text = "\n".join((f"version: 1\nextends: [{name}]", *lists))
    ready, from_yaml = both("r.yaml", {"r.yaml": text}, known_errors=True)
    assert isinstance(ready, RuleSet), ready
    assert ready == from_yaml


@pytest.fixture(scope="module")
def made_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped files as another process makes them, whose hashes are others."""
    folder = tmp_path_factory.mktemp("shipped")
    code = (
        "from pathlib import Path\n"
        "from preflight.cli.precompiled_sets import precompile_shipped_sets\n"
        "for name, data in precompile_shipped_sets().items(): Path(name).write_bytes(data)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )  # fmt: skip
    return folder


def test_nothing_is_read_for_a_set_that_is_ready(made_elsewhere: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from preflight.cli.streams import read_rule_file\n"
        "from preflight import check, __version__\n"
        "from preflight.rules.precompiled import load_precompiled_set\n"
        "data = {file.stem: file.read_bytes() for file in Path().iterdir()}\n"
        "find = lambda n: load_precompiled_set(data[n], __version__, read_rule_file)\n"
        "rules = check.load_ruleset('default', read_rule_file, find_precompiled=find)\n"
        "print(len(rules.rules), 'yaml' in sys.modules, 'hashlib' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=made_elsewhere
    )
    count, *imported = done.stdout.split()
    assert (int(count) > 100, imported) == (True, ["False", "False"]), done.stderr


def test_the_same_bytes_each_time(made_elsewhere: Path) -> None:
    shipped = precompile_shipped_sets()
    assert {file.name for file in made_elsewhere.iterdir()} == set(shipped)
    assert all((made_elsewhere / name).read_bytes() == data for name, data in shipped.items())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[:9],
        lambda data: b"",
        lambda data: b"PK\3\4" + data,
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    ],
    ids=["cut off", "nearly all cut off", "empty", "another file", "a bit"],
)
def test_what_is_not_whole_is_not_used(spoil: Callable[[bytes], bytes]) -> None:
    assert load_precompiled_set(spoil(made("images")), KEY, read_rule_file) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"other", *(marshal.dumps(value, 2) for value in (5, (1, 2), (KEY, {}, [[99]]), None))],
)
def test_what_another_program_made_is_not_used_though_its_digest_is_right(body: bytes) -> None:
    assert load_precompiled_set(source_hash(body) + body, KEY, read_rule_file) is None


def test_another_key_or_other_yaml_is_not_used() -> None:
    assert load_precompiled_set(made("default"), "another", read_rule_file) is None

    def read(name: str) -> bytes:
        return read_rule_file(name) + b"\n" * (name == GENERAL_RULE_SET)

    assert load_precompiled_set(made("default"), KEY, read) is None  # it extends general
    assert load_precompiled_set(made("images"), KEY, read) is not None


def test_yaml_with_problems_is_not_made_ready() -> None:
    def read(name: str) -> bytes:
        return read_rule_file(name).replace(b"at_least", b"atleast")

    with pytest.raises(InputError, match="atleast"):
        precompile_set("images", read, CATALOGUE, KEY)
