"""An override as YAML, and what is said beside it."""

from __future__ import annotations

from typing import Any

import yaml

from preflight.model.compose_override import ComposeEdit, ComposeOverride
from preflight.model.report import ResolvedFix, Result
from preflight.render import RenderOptions, override


def edit(service: str, key: str, text: Any, before: str = "4 GiB") -> ComposeEdit:
    return ComposeEdit(service, tuple(key.split("/")), text, before, (), ("host-rule",))


def result(id: str = "r", verdict: Any = "fail", **others: Any) -> Result:
    return Result(id, None, "R", verdict, "required", message=f"{id}: 4, needs 2", **others)


class _PurePythonLoader(yaml.SafeLoader):
    pass


_PurePythonLoader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def read(text: str) -> Any:
    return yaml.load(text, _PurePythonLoader)


def test_keys_are_nested_and_every_text_comes_back() -> None:
    edits = (
        edit("web", "environment/A", 'a "b" \\ ü: #\n$HOME'),
        edit("db", "deploy/resources/limits/memory", "6G"),
        edit("db", "deploy/resources/limits/cpus", "2"),
        edit("no", "deploy/resources/reservations/memory", "6G"),
        edit("1.2", "mem_limit", "64M"),
        edit("web", "ports", ("8001:80", "[::1]:8002:81")),
    )
    text = override.format_override_file(
        ComposeOverride(edits, (result(),), (), ()), "docker compose up -d"
    )
    assert read(text) == {
        "services": {
            "web": {
                "environment": {"A": 'a "b" \\ ü: #\n$$HOME'},
                "ports": ["8001:80", "[::1]:8002:81"],
            },
            "db": {"deploy": {"resources": {"limits": {"memory": "6G", "cpus": "2"}}}},
            "no": {"deploy": {"resources": {"reservations": {"memory": "6G"}}}},
            "1.2": {"mem_limit": "64M"},
        }
    }
    assert text.count("limits:") == 1
    assert 'cpus: "2"  # was 4 GiB: host-rule\n' in text
    assert text.startswith("# By preflight fix: 1 failing check passes with this file.\n")


def test_texts_from_outside_are_harmless() -> None:
    hostile = "\x1b[2J\u202e\x9b ##[error]x\n::error::y"
    edits = (edit(hostile, "environment/A", hostile, hostile),)
    text = override.format_override_file(ComposeOverride(edits, (), (), ()), hostile)
    assert read(text) == {"services": {hostile: {"environment": {"A": hostile}}}}
    assert text.replace("\n", "").isprintable()
    assert "##[" not in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]


def test_a_value_in_a_comment_stays_in_its_line() -> None:
    text = override.format_override_file(
        ComposeOverride((edit("a", "mem_limit", "6G", "x\ny: z\x1b[1m"),), (), (), ()), "up\nrm: x"
    )
    assert read(text) == {"services": {"a": {"mem_limit": "6G"}}}
    assert "\x1b" not in text


def test_what_is_left_is_named_with_its_fix_and_what_stands_in_the_way() -> None:
    fixes = (ResolvedFix("Add memory.", "free -h"),)
    failing = ((result(fixes=fixes), None), (result("s"), result("t")))
    warnings = (result("w", "warn"),)
    lines = override.format_still_failing_results(
        ComposeOverride((), (), failing, warnings), RenderOptions()
    ).splitlines()
    assert [line.strip() for line in lines] == [
        "Not fixed by an override:",
        "✖ r: 4, needs 2",
        "Add memory.",
        "$ free -h",
        "✖ s: 4, needs 2",
        "A value that passes would break: R.",
        "Recommendations that the override doesn't meet:",
        "▲ w: 4, needs 2",
    ]
    assert (
        override.format_still_failing_results(ComposeOverride((), (), (), ()), RenderOptions())
        == ""
    )
