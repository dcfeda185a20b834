"""What doesn't fit together is refused in the words of the real Compose, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose_projects import ask_compose, read_project_without_compose

REFUSED = (
    "{command: x}",
    "{image: ''}",
    "{image: x, networks: [q]}",
    "{image: x, networks: {q: {aliases: [z]}}}",
    "{image: x, network_mode: none, networks: [n]}",
    "{image: x, volumes: ['data:/x']}",
    "{image: x, volumes: ['sub/folder:/x']}",
    "{image: x, volumes: [{type: volume, source: data, target: /x}]}",
    "{image: x, secrets: [s]}",
    "{image: x, configs: [{source: c}]}",
    "{image: x, depends_on: [gone]}",
    "{image: x, depends_on: [off]}",
    "{image: x, links: ['gone:y']}",
    "{image: x, volumes_from: ['gone:ro']}",
    "{image: x, network_mode: 'service:gone'}",
)
ACCEPTED = (
    "{image: x, networks: [default, n], volumes: ['vol:/x', '/y', './z:/z']}",
    "{image: x, volumes: [{type: volume, target: /x}], network_mode: none, depends_on: [b]}",
    "{image: x, depends_on: {off: {condition: service_started, required: false}}}",
    "{provider: {type: model, options: {model: x}}}",
    "{image: x, volumes_from: ['container:gone'], links: ['b:y']}",
    "{command: x, profiles: [p]}",
)
REST = """
  b: {image: x}
  off: {image: x, profiles: [p]}
networks: {n: {}}
volumes: {vol: {external: true}}
"""


@pytest.mark.parametrize("service", [*REFUSED, *ACCEPTED])
def test_contradictions_are_those_of_compose(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(f"services:\n  a: {service}{REST}")
    config, output = ask_compose(tmp_path, ["compose.yaml"])
    conflicts = read_project_without_compose(["compose.yaml"]).reading.conflicts
    assert [name for name, _ in conflicts] == (["a"] if service in REFUSED else [])
    assert (config is None) is (service in REFUSED)
    assert all(words in output for _, words in conflicts)


def test_what_a_required_variable_would_give_contradicts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("services: {a: {image: '${TAG:?set it}'}}")
    reading = read_project_without_compose(["compose.yaml"]).reading
    assert (reading.conflicts, reading.missing_variables) == ((), {"TAG": "set it"})
