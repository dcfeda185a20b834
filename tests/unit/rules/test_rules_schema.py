"""The JSON Schema and the decoder agree on what a rule file looks like.

What only the decoder can know (facts, units, patterns, other files) is no part of this.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.model.conditions import OPERATORS
from preflight.model.facts import FactCatalogue, FactDeclaration
from preflight.model.problems import InputError
from preflight.model.rules import (
    BUNDLED_FILE_BY_SET,
    CONFIDENCES,
    KNOWN_ERRORS_SET,
    UNIT_BY_VALUE_TYPE,
)
from preflight.rules.load import load_ruleset
from preflight.rules.schema_decoding import (
    DECODER_BY_DEFINITION,
    RULE_FILE_DEFINITION,
    SCHEMA_BY_DEFINITION,
    UNIT_BY_TYPE,
    build_json_schema,
)
from preflight.yaml_reader import parse_yaml_document

CATALOGUE = FactCatalogue(
    [*pipeline.build_catalogue().facts, FactDeclaration("app.*.size", "bytes", "")]
)
GOOD_RULE = {"id": "a", "title": "A", "fact": "host.os", "require": {"equals": "linux"}}
GOOD_FIX = {"text": "Do."}
GOOD_WAIVER = {"rule": "a", "reason": "r", "owner": "o", "until": "2027-01-31"}


def decodes(document: Any) -> bool:
    """Whether the loader takes a document; YAML holds all of JSON."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    try:
        load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    except InputError:
        return False
    return True


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(build_json_schema())


def validates(document: Any) -> bool:
    return bool(validator().is_valid(document))


def file(**keys: Any) -> dict[str, Any]:
    return {"version": 1, **keys}


def rule(**keys: Any) -> dict[str, Any]:
    return file(rules=[{**GOOD_RULE, **keys}])


def fix(**keys: Any) -> dict[str, Any]:
    return rule(fixes=[{**GOOD_FIX, **keys}])


def waiver(**keys: Any) -> dict[str, Any]:
    return file(rules=[GOOD_RULE], waivers=[{**GOOD_WAIVER, **keys}])


def diagnosis(**keys: Any) -> dict[str, Any]:
    return file(diagnoses=[{"id": "d", "title": "T", "patterns": ["(?P<a>x)"], **keys}])


def sized(bound: Any) -> dict[str, Any]:
    return rule(fact="host.memory.total", require={"at_least": bound})


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(build_json_schema())
    json.dumps(build_json_schema())
    named = jsonschema.validators.validator_for(
        build_json_schema(), default=jsonschema.Draft3Validator
    )
    assert named is jsonschema.Draft202012Validator
    assert build_json_schema()["title"] == "preflight.rules/1"


def test_every_definition_is_decoded() -> None:
    shapes = {operator.shape for operator in OPERATORS.values()}
    assert SCHEMA_BY_DEFINITION.keys() == {*DECODER_BY_DEFINITION, *shapes, RULE_FILE_DEFINITION}


def test_the_words_of_the_schema_are_those_of_the_program() -> None:
    diagnosis = SCHEMA_BY_DEFINITION["diagnosis"]["properties"]
    assert tuple(diagnosis["confidence"]["anyOf"][0]["enum"]) == CONFIDENCES
    values = diagnosis["values"]["anyOf"][0]["additionalProperties"]["enum"]
    assert values == list(UNIT_BY_VALUE_TYPE)
    assert SCHEMA_BY_DEFINITION["type"]["enum"] == list(UNIT_BY_TYPE)


def test_the_bundled_rules_follow_it() -> None:
    for name in BUNDLED_FILE_BY_SET:
        validator().validate(yaml.safe_load(read_rule_file(name)))


def test_every_key_and_operator_is_described() -> None:
    made = build_json_schema()
    assert set(made["$defs"]["condition"]["properties"]) == {*OPERATORS, "type"}
    for one in (made, made["$defs"]["rule"], made["$defs"]["fix"]):
        assert all(field["description"] for field in one["properties"].values())
    condition = made["$defs"]["condition"]["properties"]
    assert all(condition[operator]["description"] for operator in OPERATORS)


@pytest.mark.parametrize(
    "document",
    [
        file(),
        file(name="x", source="s", next="n", extends=[], vars={}, rules=[], models=[]),
        file(name=None, extends=None, vars=None, rules=None, models=None, waivers=None),
        file(vars={"a": 1, "b": "1GB", "c": True, "d_1": 0.5}),
        file(
            models=[
                {"name": "m", "memory": "1GB"},
                {"name": "n", "memory": 5_000_000, "note": None},
            ]
        ),
        file(diagnoses=[{"id": "d", "title": "T", "patterns": ["a", ""], "fixes": [GOOD_FIX]}]),
        diagnosis(confidence="certain", values={"a": "bytes"}, figures=["{a}"], times=3),
        diagnosis(times=2, within="5m", unless=["d"], service="ollama.service"),
        diagnosis(times=2, within=60, confidence=None, values=None, figures=None, unless=None),
        rule(tags=[], needs=[], when={}, fixes=[], enabled=False, why="w", section="s"),
        rule(document=False),
        rule(document=None, section="s"),
        rule(tags=None, needs=None, when=None, enabled=None, error=None, type=None),
        rule(when={"docker.local": True, "host.cpu.logical": 4, "host.os": "linux"}),
        rule(when={"host.os": {"one_of": ["linux"]}, "host.swap.total": {"exists": False}}),
        rule(fact="env.X", type="bytes", require={"at_least": "1GB"}),
        rule(fact="env.X", require={"type": "number", "at_most": 5}),
        rule(fact="env.X", type="number", require={"at_most": {"fact": "host.cpu.logical"}}),
        rule(for_each="app", fact="size", require={"at_most": {"fact": "host.memory.total"}}),
        rule(require={"all_of": [{"equals": "a"}, {"not": {"matches": "b"}}]}),
        sized(5_000_000),
        sized(0),
        sized("0.5B"),
        sized("8GB"),
        sized({"fact": "host.memory.total"}),
        sized({"fact": "host.memory.total", "times": 0.5, "plus": "2GB"}),
        sized({"fact": "host.memory.total", "times": "0.5", "plus": 5_000_000}),
        sized({"sum": [1_000_000, {"sum": ["1GB"]}, {"fact": "host.memory.usable"}]}),
        rule(fixes=[{**GOOD_FIX, "when": {"host.os": "x"}, "command": "c", "url": "https://x"}]),
        waiver(),
        waiver(accept={"equals": "darwin"}),
        waiver(accept=None),
        file(profiles=None),
        file(edition={"url": "https://x", "date": "2026-08-21", "version": "1"}),
        file(edition={"url": "https://x", "date": None}),
        file(vars={"a": 1}, profiles={"small": {}, "x-1.5_l": {"vars": {"a": 2}, "when": None}}),
        file(profiles={"small": {"vars": None, "when": {"host.os": "linux"}}}),
    ],
)
def test_both_take(document: Any) -> None:
    assert decodes(document)
    validator().validate(document)


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        "text",
        [],
        {},
        {"version": 2},
        {"version": "1"},
        {"version": True},
        {"version": None},
        file(colour="red"),
        file(name=5),
        file(name=""),
        file(name=" "),
        file(name=["x"]),
        file(extends="default"),
        file(extends=[5]),
        file(extends=[None]),
        file(vars=[]),
        file(vars={"A": 1}),
        file(vars={"a": None}),
        file(vars={"a": [1]}),
        file(rules={}),
        file(rules=[5]),
        file(rules=[{}]),
        file(models=[{"memory": 5}]),
        file(models=[{"name": "m", "memory": True}]),
        file(models=[{"name": "m", "memory": [1]}]),
        file(diagnoses=[{"id": "d", "title": "T", "patterns": []}]),
        file(diagnoses=[{"id": "d", "title": "T", "patterns": [5]}]),
        file(diagnoses=[{"id": "d", "title": "T", "patterns": "a"}]),
        diagnosis(confidence="sure"),
        diagnosis(values={"a": "gigs"}),
        diagnosis(values=[]),
        diagnosis(figures="x"),
        diagnosis(times=0),
        diagnosis(times="3"),
        diagnosis(times=1.5),
        diagnosis(within=[]),
        diagnosis(unless="d"),
        diagnosis(service=5),
        rule(id="A b"),
        rule(id=5),
        rule(id=None),
        rule(title=None),
        rule(title=5),
        rule(title=True),
        rule(fact=5),
        rule(fact=["host.os"]),
        rule(fact=" "),
        rule(for_each=5, fact="size"),
        rule(for_each=" ", fact="size"),
        rule(tags="a"),
        rule(tags=[5]),
        rule(tags=[None]),
        rule(needs=["A"]),
        rule(enabled="true"),
        rule(enabled=1),
        rule(document="no"),
        rule(document=0),
        rule(type="size"),
        rule(when=[]),
        rule(when={"host.os": None}),
        rule(when={"host.os": ["linux"]}),
        rule(when={"host.os": {}}),
        rule(require={}),
        rule(require=5),
        rule(require="linux"),
        rule(require=[{"equals": "a"}]),
        rule(require={"equal": "a"}),
        rule(require={"type": "string"}),
        rule(require={"type": None, "equals": "a"}),
        rule(require={"equals": None}),
        rule(require={"equals": ["a"]}),
        rule(require={"one_of": "a"}),
        rule(require={"one_of": []}),
        rule(require={"one_of": [["a"]]}),
        rule(require={"matches": 5}),
        rule(require={"matches": None}),
        rule(require={"exists": "yes"}),
        rule(require={"exists": 1}),
        rule(require={"all_of": []}),
        rule(require={"all_of": {"equals": "a"}}),
        rule(require={"not": "a"}),
        rule(fact="docker.version", require={"version": 20.10}),
        sized({}),
        sized({"times": 2}),
        sized({"fact": "host.memory.total", "times": True}),
        sized({"fact": "host.memory.total", "times": None}),
        sized({"fact": "host.memory.total", "sum": [1]}),
        sized({"fact": "host.memory.total", "minus": 1}),
        sized({"sum": []}),
        sized({"sum": 5}),
        sized({"sum": [None]}),
        fix(text=None),
        fix(text=""),
        fix(url="ftp://x"),
        fix(url="https://a b"),
        fix(colour="red"),
        rule(fixes=GOOD_FIX),
        rule(fixes=["Do."]),
        rule(fixes=[None]),
        waiver(until=None),
        waiver(until="soon"),
        waiver(until=2027),
        waiver(owner=5),
        waiver(accept={}),
        waiver(colour="red"),
        file(profiles=[]),
        file(edition={}),
        file(edition="https://x"),
        file(edition={"url": "x"}),
        file(edition={"url": "https://x", "date": "soon"}),
        file(edition={"url": "https://x", "version": 2}),
        file(profiles={"Small": {}}),
        file(profiles={"small": None}),
        file(profiles={"small": {"colour": "red"}}),
        file(profiles={"small": {"vars": {"A": 1}}}),
        file(vars={"a": 1}, profiles={"small": {"vars": {"a": None}}}),
        file(profiles={"small": {"when": {"host.os": ["linux"]}}}),
    ],
)
def test_both_refuse(document: Any) -> None:
    assert not decodes(document)
    assert not validates(document)


def test_an_override_gives_only_what_changes() -> None:
    base = rule() | {
        "models": [{"name": "m", "memory": 5_000_000}],
        "diagnoses": [{"id": "d", "title": "T", "patterns": ["a"]}],
    }
    document = file(
        extends=["base.yaml"],
        rules=[{"id": "a", "title": "B"}],
        models=[{"name": "m", "note": "n"}],
        diagnoses=[{"id": "d", "cause": "c"}],
    )
    validator().validate(document)
    files = {"r.yaml": document, "base.yaml": base, KNOWN_ERRORS_SET: {"version": 1}}
    loaded = load_ruleset("r.yaml", lambda name: json.dumps(files[name]).encode(), CATALOGUE)
    assert loaded.rules[0].title == "B"


# any change of one value in a right document: both see it, or neither does

RIGHT = {
    "version": 1,
    "name": "n",
    "extends": [],
    "applies": {"any_of": [{"docker.local": True}, {"host.os": {"one_of": ["linux"]}}]},
    "otherwise": "Neither holds",
    "vars": {"a": "1GB"},
    "edition": {"url": "https://x", "date": "2026-08-21", "version": "1"},
    "profiles": {"small": {"vars": {"a": "2GB"}, "when": {"host.os": "linux"}}, "full": {}},
    "rules": [
        {
            "id": "a",
            "title": "A",
            "tags": ["t"],
            "needs": ["b"],
            "when": {"docker.local": True, "host.os": {"one_of": ["linux"]}},
            "enabled": True,
            "section": "s",
            "document": True,
            "fact": "host.memory.total",
            "require": {"at_least": {"fact": "host.memory.usable", "times": 2, "plus": "1B"}},
            "recommend": {
                "any_of": [{"at_least": "5B"}, {"not": {"at_most": {"sum": ["1B", "2B"]}}}]
            },
            "fixes": [{"text": "Do.", "command": "c", "url": "https://x"}],
        },
        {**GOOD_RULE, "id": "b"},
    ],
    "models": [{"name": "m", "memory": 5_000_000, "note": "n"}],
    "diagnoses": [
        {
            "id": "d",
            "title": "T",
            "patterns": ["(?P<x>p)"],
            "cause": "c",
            "confidence": "likely",
            "values": {"x": "string"},
            "figures": ["{x}"],
            "times": 2,
            "within": "5m",
            "unless": ["d"],
            "service": "ollama.service",
        }
    ],
    "waivers": [{**GOOD_WAIVER, "accept": {"at_least": "5B"}}],
}
ANY = st.sampled_from(
    [None, True, False, 5, 0.5, "", " ", "x", "x y", [], [5], ["x"], [None], {}, {"x": 5}, [[]]]
)
# what the schema leaves to the decoder: whether a text is a figure, a name that is known, a day
READ_BY_DECODER = (
    "applies",
    "extends",
    "fact",
    "for_each",
    "needs",
    "vars",
    "rule",
    "until",
    "when",
    "type",
    "values",
    "within",
    "unless",
    "service",
    "patterns",
    "times",
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [path] + [place for key in keys for place in places(node[key], (*path, key))]


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[key] = replaced(node[key], tuple(rest), value)
    return copy


def test_the_right_document_is_right() -> None:
    assert decodes(RIGHT)
    assert validates(RIGHT)


@settings(max_examples=5 * settings.default.max_examples)
@given(place=st.sampled_from(places(RIGHT)), value=ANY)
def test_a_changed_value_is_refused_by_both_or_by_the_decoder_for_what_it_means(
    place: tuple[Any, ...], value: Any
) -> None:
    document = replaced(RIGHT, place, value)
    taken, valid = decodes(document), validates(document)
    if taken:
        assert valid  # editors never mark what the program takes
    elif valid:
        inner = value if isinstance(value, list) else [value]  # a sum has figures in a list
        # a number is no size where it is small and has no unit
        scalars = any(isinstance(one, str | bool | int | float) for one in inner)
        figures = scalars and {"require", "recommend", "memory", "accept"}
        means = any(key in READ_BY_DECODER for key in place) or set(place) & (figures or set())
        emptied = value in (None, [], {}) or (isinstance(value, str | float | int))
        # `a` and `b` are named elsewhere, and a rule may need what was taken away
        assert means or (emptied and len(place) <= 3), (place, value)


def test_the_document_reader_takes_every_json() -> None:
    node = parse_yaml_document(json.dumps(RIGHT).encode(), "r.yaml")
    assert len(node.value) == len(RIGHT)
