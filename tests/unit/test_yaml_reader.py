"""The YAML reader with positions: what it takes, and what it refuses before it grows."""

from __future__ import annotations

import pytest
import yaml

from preflight import yaml_reader
from preflight.model.problems import InputError
from preflight.yaml_reader import (
    MAX_NESTING_LEVELS,
    MAX_YAML_NODES,
    describe_node_kind,
    parse_yaml_document,
    parse_yaml_documents,
)

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with either parser: PyYAML may have been built without libyaml."""
    monkeypatch.setattr(yaml_reader, "MAX_YAML_NODES", 10_000)  # as many as 200,000 take seconds
    if request.param == "python":
        monkeypatch.setattr(yaml_reader, "_LibyamlLoader", yaml_reader._PurePythonLoader)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: b: c", "f.yaml:1:5: mapping values are not allowed"),
        (b"a: b\nc: \xff\n", "f.yaml:2:4: the file isn't text: invalid "),
        (bytes(range(1, 32)), "characters are not allowed"),
        (b"a: *b", "f.yaml:1:4: found undefined alias"),
        (b"a: &a [*a]", "f.yaml:1:4: an alias that contains itself"),
        (b"a: " + b"[" * 5000, f"nested deeper than {MAX_NESTING_LEVELS} levels"),
        (b"a: " + b"[" * 300, f"nested deeper than {MAX_NESTING_LEVELS} levels"),
        (BOMB.encode(), f"more than {MAX_YAML_NODES} values"),
        (BOMB.encode("utf-16"), f"more than {MAX_YAML_NODES} values"),
        (b"[" + b"a," * 10_001, f"more than {MAX_YAML_NODES} values"),
        (b"#" * (4 * 2**20 + 1), "f.yaml: the file is larger than 4 MiB"),
    ],
)
def test_what_is_refused_names_its_position(text: bytes, message: str, parser: None) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml_documents(text, "f.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_positions_and_kinds_of_values(parser: None) -> None:
    root = parse_yaml_document(b"a: 1\nb:\n  - 'x'\n  - !reset {}\n", "f.yaml")
    assert isinstance(root, yaml.MappingNode)
    (_, one), (_, items) = root.value
    places = [(node.start_mark.name, node.start_mark.line) for node in items.value]
    assert places == [("f.yaml", 2), ("f.yaml", 3)]
    assert [describe_node_kind(one), describe_node_kind(items)] == ["a number", "a list"]
    assert [describe_node_kind(node) for node in items.value] == ["text", "the tag '!reset'"]


def test_an_anchor_can_be_used_again(parser: None) -> None:
    root = parse_yaml_document(b"a: &x 1\nb: &x 2\nc: *x\n", "f.yaml")
    assert [value.value for _, value in root.value] == ["1", "2", "2"]


def test_documents_of_one_stream_and_other_encodings(parser: None) -> None:
    assert len(parse_yaml_documents(b"a: 1\n---\nb: 2\n", "f.yaml")) == 2
    assert parse_yaml_documents(b"# nothing\n", "f.yaml") == []
    assert parse_yaml_document("größe: x".encode("utf-16"), "f.yaml").value[0][0].value == "größe"
    for text in (b"", b"a: 1\n---\nb: 2\n"):
        with pytest.raises(InputError, match=r"f\.yaml:[13]:1: (the file is empty|expected a sin)"):
            parse_yaml_document(text, "f.yaml")
