"""The layout holds: who may import whom, and what a start may import."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import ForwardRef

import pytest

import preflight
from preflight.cli.app import COMMANDS, load_command_syntax
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.model.facts import Facts
from preflight.snapshot.facts_file import format_snapshot

PACKAGE = Path(preflight.__file__).parent
SIBLINGS = {"facts", "rules", "evaluate", "render", "snapshot", "logs", "fleet"}
MAY_IMPORT = {
    "cli": {"check", *SIBLINGS, "cache_files", "model", "processes"},
    "check": {*SIBLINGS, "model"},
    **{sibling: {"model"} for sibling in SIBLINGS},
    "rules": {"model", "yaml_reader"},
    "facts": {"model", "processes", "yaml_reader"},
    "fleet": {"model", "processes"},
    "logs": {"cache_files", "model"},
    "cache_files": {"processes"},
    "processes": set(),
    "yaml_reader": {"model"},
    "model": set(),
}
ONLY_IN = {
    "psutil": {"facts", "fleet"},
    "docker": {"facts"},
    "yaml": {"facts", "yaml_reader"},
    "jinja2": {"render"},
    "hyperscan": {"logs"},
}
WORLD = {"subprocess", "socket", "shutil", "tempfile"}
TOUCHES_WORLD = {"facts", "snapshot", "cli", "fleet", "processes"}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def part_of(file: Path) -> str:
    top = file.relative_to(PACKAGE).parts[0]
    return top.removesuffix(".py")


FILES = [f for f in sorted(PACKAGE.rglob("*.py")) if not part_of(f).startswith("__")]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_downward_only(file: Path) -> None:
    part = part_of(file)
    for name in imports(file):
        top, _, rest = name.partition(".")
        if top == "preflight" and rest:
            target = rest.split(".")[0]
            assert target == part or target in MAY_IMPORT[part], name
        assert part in ONLY_IN.get(top, {part}), name
        assert top not in WORLD or part in TOUCHES_WORLD, name


WITH_NAMED_TUPLES = [f for f in FILES if "(NamedTuple)" in f.read_text(encoding="utf-8")]


@pytest.mark.parametrize("file", WITH_NAMED_TUPLES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_named_tuples_have_no_annotations_in_words(file: Path) -> None:
    """Each would be compiled at the import, and the first loads all of Python's syntax tree."""
    name = ".".join(("preflight", *file.relative_to(PACKAGE).with_suffix("").parts))
    module = import_module(name.removesuffix(".__init__"))
    classes = [c for c in vars(module).values() if isinstance(c, type) and hasattr(c, "_fields")]
    for class_ in classes:
        words = [a for a in class_.__annotations__.values() if isinstance(a, str | ForwardRef)]
        assert not words, class_


PRINT_MODULES = "print('\\n' + json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)"


def loaded(*arguments: str, cwd: Path | None = None, **environment: str) -> set[str]:
    code = (
        "import sys, json; sys.argv = ['preflight', *json.loads(sys.argv[1])]\n"
        "from preflight.cli import main\n"
        f"try: main()\nfinally: {PRINT_MODULES}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env={**os.environ, **environment}, capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


ASKED = [  # by the bundled rules
    ["docker", "ulimits", "nofile", "soft"],
    ["kernel", "sysctl", "vm", "max_map_count"],
]


def loaded_by_worker(cwd: Path) -> set[str]:
    code = (
        "import sys, json, os\n"
        "from preflight.facts.collect import worker\n"
        f"def end():\n    {PRINT_MODULES}\n    os._exit(0)\n"
        "worker._exit_process_group = end\nworker.serve_request()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=f"{json.dumps([MeasurementOptions(), time.monotonic() + 10])}\n{json.dumps(ASKED)}\n",
        capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def precompiled_sets() -> None:
    """A checkout keeps the bundled sets on their first use, which imports more."""
    loaded("check", "--facts", "-")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["check", "--help"]])
def test_help_imports_neither_probes_nor_rules(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert not {"docker", "psutil", "yaml", "rich", "pydantic", "requests"} & modules
    assert "preflight.facts.table" not in modules


def test_the_program_itself_leaves_the_sdk_to_its_worker() -> None:
    modules = loaded("check", "-f", "json", "--timeout", "5")
    assert not {"docker", "psutil", "requests", "rich", "pydantic", "jinja2"} & modules
    measuring = {"compose", "engine", "ollama", "ports", "stack", "start_blockers"}
    assert not {f"preflight.facts.{name}" for name in measuring} & modules


COMPLETING = {"_PREFLIGHT_COMPLETE": "complete_bash", "COMP_WORDS": "preflight check --f",
              "COMP_CWORD": "2"}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "environment", "own", "others"),
    [
        (["--version"], {}, 2, 65),
        (["--help"], {}, 16, 95),
        (["check"], {}, 45, 105),
        (["check", "-f", "json"], {}, 45, 105),
        ([], COMPLETING, 24, 110),
        ([], {**COMPLETING, "COMP_WORDS": "preflight explain host-m"}, 36, 110),
    ],
    ids=["--version", "--help", "check", "check -f json", "an option", "the id of a rule"],
)
@pytest.mark.usefixtures("precompiled_sets")
def test_a_start_imports_no_more_than_it_did(
    arguments: list[str], environment: dict[str, str], own: int, others: int
) -> None:
    modules = loaded(*arguments, **environment)
    ours = {name for name in modules if name.partition(".")[0] == "preflight"}
    assert len(ours) <= own, sorted(ours)
    assert len(modules - ours) <= others, sorted(modules - ours)


def test_each_command_is_run_by_the_module_that_the_table_names() -> None:
    for name, (module_name, _) in COMMANDS.items():
        command = load_command_syntax(name)
        assert command.description.rpartition("\n\n")[2].startswith("Example: "), name
        assert all(argument.help for argument in command.arguments), name
        if module_name:
            module = import_module(f"preflight.cli.{module_name}")
            assert callable(getattr(module, f"run_{name.replace(' ', '_')}")), name


@pytest.mark.skipif(sys.platform != "linux", reason="no fork elsewhere")
def test_what_program_and_worker_both_use_is_imported_once(tmp_path: Path) -> None:
    """Before the fork; and nothing else is, apart from what takes the fork."""
    code = (
        "import sys, json\nfrom preflight.cli import main\n"
        "from preflight.facts.collect.worker_process import import_shared_modules\n"
        "import_shared_modules()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + PRINT_MODULES], capture_output=True, text=True
    )
    shared = set(json.loads(done.stderr.splitlines()[-1]))
    program = loaded("check", cwd=tmp_path)
    worker = loaded_by_worker(tmp_path)
    # which keeps its rule sets in files
    for_a_checkout = {"fnmatch", "ipaddress", "ntpath", "pathlib", "urllib", "urllib.parse"}
    assert sorted((program & worker) - shared - for_a_checkout) == []
    facts = tmp_path / "facts.json"
    facts.write_text(format_snapshot(Facts({}, {"host": "a test"})), encoding="utf-8")
    without_worker = loaded("check", "--facts", str(facts), cwd=tmp_path)
    unneeded = {"gc", "preflight.cli", "preflight.facts.collect.worker_process"}
    assert sorted(shared - (without_worker & worker) - unneeded) == []


def test_a_worker_imports_no_more_than_it_did(tmp_path: Path) -> None:
    modules = loaded_by_worker(tmp_path)
    ours = {name for name in modules if name.partition(".")[0] == "preflight"}
    heavy = {"docker", "yaml", "http.client", "email", "logging", "ssl", "hashlib"}
    if sys.platform == "linux":
        heavy |= {"psutil", "subprocess"}
    assert not heavy & modules
    assert len(ours) <= 35, sorted(ours)
    assert len(modules - ours) <= (110 if sys.platform == "linux" else 125), sorted(modules - ours)


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.usefixtures("precompiled_sets")
def test_a_check_imports_at_most_70_of_our_modules(format_: str, tmp_path: Path) -> None:
    """In both processes together."""
    compose = "services: {api: {image: alpine}, db: {image: alpine, mem_limit: 1gb}}\n"
    (tmp_path / "compose.yaml").write_text(compose)
    modules = loaded("check", "-f", format_, cwd=tmp_path) | loaded_by_worker(tmp_path)
    assert "yaml" not in loaded("check", "-f", format_)
    ours = {name for name in modules if name.partition(".")[0] == "preflight"}
    assert {"preflight.facts.compose.cli", "preflight.facts.swarm"} <= ours
    on_demand = {
        f"preflight.facts.{name}" for name in ("host.clock", "host.tools", "mounted_paths")
    }
    assert not on_demand & ours
    assert len(ours) <= 70, sorted(ours)
