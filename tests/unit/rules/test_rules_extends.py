"""Rule files that extend others: what is taken over, what is laid over it, in which order."""

from __future__ import annotations

import pytest

from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.model.problems import InputError
from preflight.model.rules import (
    DEFAULT_RULE_SET,
    GENERAL_RULE_SET,
    IMAGES_RULE_SET,
    KNOWN_ERRORS_SET,
    RuleSet,
)
from preflight.rules.load import load_ruleset

BASE = """\
version: 1
name: base
source: The document
next: up
vars: {size: 8GB, other: 1GB}
rules:
  - id: memory
    title: Memory
    why: It is needed.
    tags: [base]
    when: {host.os: linux}
    fact: host.memory.total
    require: {at_least: "${size}"}
    recommend: {at_least: 16GB}
    fixes: [{text: Buy some.}]
  - {id: system, title: System, fact: host.os, require: {equals: linux}}
models: [{name: small, memory: 1GB, note: good}, {name: large, memory: 9GB}]
diagnoses: [{id: known, title: Known, patterns: [a], cause: c}]
waivers: [{rule: system, reason: r, owner: base, until: 2027-01-31}]
"""


def loaded(files: dict[str, str], name: str = "rules.yaml") -> RuleSet:
    def read(path: str) -> bytes:
        if path in (DEFAULT_RULE_SET, GENERAL_RULE_SET, IMAGES_RULE_SET):
            return read_rule_file(path)
        if path == KNOWN_ERRORS_SET:
            return b"version: 1"
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path].encode()

    return load_ruleset(name, read, pipeline.build_catalogue())


def over(text: str, base: str = BASE) -> RuleSet:
    return loaded({"rules.yaml": f"version: 1\nextends: [base.yaml]\n{text}", "base.yaml": base})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (OSError("no reason in it"), "no reason in it"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_where_it_is_named(fault: Exception, said: str) -> None:
    def read(path: str) -> bytes:
        if path == "a/r.yaml":
            return b"version: 1\nextends:\n  - x.yaml\nrules: [{id: A}]\n"
        raise fault

    with pytest.raises(InputError) as found:
        load_ruleset("a/r.yaml", read, pipeline.build_catalogue())
    problems = [str(one) for one in found.value.problems]
    assert problems[0] == f"a/r.yaml:3:5: cannot read a/x.yaml: {said}"
    assert problems[1].startswith("a/r.yaml:4:14: expected ")  # the rest is read all the same


@pytest.mark.parametrize("base", ["https://example.com/r.yaml", "oci://example.com/rules:1"])
def test_an_address_is_told_to_be_none_of_a_file(base: str) -> None:
    with pytest.raises(InputError) as found:
        loaded({"rules.yaml": f"version: 1\nextends: ['{base}']\nrules: [{{id: A}}]\n"})
    problems = [str(one) for one in found.value.problems]
    assert problems[0] == (
        f"rules.yaml:2:11: cannot read {base}: "
        "preflight doesn't download rule files: specify a local file"
    )
    assert problems[1].startswith("rules.yaml:3:14: expected ")


def test_extending_alone_changes_no_rule() -> None:
    alone, extending = loaded({"rules.yaml": BASE}), over("")
    placed = ("rules", "waivers")  # the same, but for the file that they stand in
    fields = set(alone._fields) - {"sha256", "documents", "extends", *placed}
    assert {f: getattr(alone, f) for f in fields} == {f: getattr(extending, f) for f in fields}
    for name in placed:
        wanted = tuple(one._replace(file="base.yaml") for one in getattr(alone, name))
        assert getattr(extending, name) == wanted
    assert alone.sha256 != extending.sha256


def test_a_rule_is_of_the_document_that_its_file_names() -> None:
    base = BASE.replace("- {id: system,", "- {id: system, document: false,")
    for head, own in (("source: Mine\n", "Mine"), ("", "The document")):
        ruleset = over(
            f"{head}rules: [{{id: own, title: O, fact: host.os, require: {{equals: a}}}}]", base
        )
        documents = {rule.id: ruleset.get_document_name_of_rule(rule) for rule in ruleset.rules}
        assert documents == {"memory": "The document", "system": "", "own": own}


def test_default_is_the_bundled_set() -> None:
    rules = loaded({"rules.yaml": "version: 1\nextends: [default]"})
    bundled = loaded({}, DEFAULT_RULE_SET)
    assert rules.rules == bundled.rules
    assert rules.models == bundled.models
    assert (rules.origin, bundled.origin) == ("rules.yaml", "bundled")


def test_given_fields_win_and_the_others_stay() -> None:
    before = over("").rules[0]
    after = over("rules: [{id: memory, title: RAM, require: {at_least: 4GB}}]").rules[0]
    changed = {name for name in before._fields if getattr(before, name) != getattr(after, name)}
    assert changed == {"title", "require", "file", "line", "column"}
    assert (before.file, after.file, after.line) == ("base.yaml", "rules.yaml", 3)


@pytest.mark.parametrize("null", ["null", "~", ""])
def test_null_takes_a_field_away(null: str) -> None:
    rule = over(f"rules: [{{id: memory, when: {null}, fixes: {null}, recommend: {null}}}]").rules[0]
    assert (rule.when, rule.fixes, rule.recommend) == ((), (), None)
    assert rule.require is not None


def test_what_a_rule_needs_can_not_be_taken_away() -> None:
    with pytest.raises(InputError) as fault:
        over("rules:\n  - {id: memory, title: ~, require: ~, recommend: ~}")
    assert [str(p) for p in fault.value.problems] == [
        "rules.yaml:4:25: a rule needs 'title'",
    ]


def test_a_problem_names_the_file_that_the_field_stands_in() -> None:
    with pytest.raises(InputError) as fault:
        over("vars: {size: lots}\nrules: [{id: system, fact: host.memory.total}]")
    assert [str(p).split(": ")[0] for p in fault.value.problems] == [
        "base.yaml:13:25",  # the bound whose var was overridden
        "base.yaml:16:66",  # equals: linux, of a fact that is bytes now
    ]


def test_order_is_that_of_first_mention_and_new_rules_come_last() -> None:
    rules = over(
        "rules:\n  - {id: new, title: N, fact: host.os, require: {exists: true}}\n"
        "  - {id: system, title: S}"
    )
    assert [rule.id for rule in rules.rules] == ["memory", "system", "new"]


def test_a_rule_that_gets_another_section_stands_where_the_file_names_it() -> None:
    rules = over(
        "rules:\n  - {id: new, title: N, fact: host.os, require: {exists: true}}\n"
        "  - {id: memory, section: S}"
    )
    assert [rule.id for rule in rules.rules] == ["system", "new", "memory"]


def test_a_new_rule_may_need_one_of_the_base_and_the_reverse() -> None:
    rules = over(
        "rules:\n  - {id: new, title: N, fact: host.os, require: {exists: true}, needs: [system]}\n"
        "  - {id: memory, needs: [new]}"
    )
    assert {rule.id: rule.needs for rule in rules.rules} == {
        "memory": ("new",),
        "system": (),
        "new": ("system",),
    }


def test_vars_are_merged_before_anything_is_read_by_them() -> None:
    rules = over("vars: {size: 12GB, third: 3GB}")
    assert rules.vars == {"size": "12GB", "other": "1GB", "third": "3GB"}
    assert rules.rules[0].require is not None
    assert rules.rules[0].require.tests[0][1] == 12_000_000_000


def test_head_models_diagnoses_and_waivers_are_merged_too() -> None:
    rules = over(
        "name: mine\nmodels: [{name: small, memory: 2GB}, {name: tiny, memory: 1MB}]\n"
        "diagnoses: [{id: known, title: Better}]\n"
        "waivers: [{rule: memory, reason: r, owner: mine, until: 2027-01-31}]"
    )
    assert (rules.name, rules.source, rules.next) == ("mine", "The document", "up")
    assert [(m.name, m.memory, m.note) for m in rules.models] == [
        ("small", 2_000_000_000, "good"),
        ("large", 9_000_000_000, ""),
        ("tiny", 1_000_000, ""),
    ]
    assert [(d.title, d.cause) for d in rules.diagnoses] == [("Better", "c")]
    assert [w.owner for w in rules.waivers] == ["base", "mine"]


def test_of_two_files_the_later_wins() -> None:
    def rule(size: str) -> str:
        return f"version: 1\nrules: [{{id: memory, require: {{at_least: {size}}}}}]"

    rules = loaded(
        {
            "rules.yaml": "version: 1\nextends: [base.yaml, a.yaml, b.yaml]",
            "base.yaml": BASE,
            "a.yaml": rule("1GB"),
            "b.yaml": rule("2GB"),
        }
    )
    assert rules.rules[0].require is not None
    assert rules.rules[0].require.tests[0][1] == 2_000_000_000


def test_a_base_that_two_files_share_does_not_undo_the_first() -> None:
    rules = loaded(
        {
            "rules.yaml": "version: 1\nextends: [a.yaml, b.yaml]",
            "base.yaml": BASE,
            "a.yaml": "version: 1\nextends: [base.yaml]\nrules: [{id: memory, title: A}]",
            "b.yaml": "version: 1\nextends: [./base.yaml]\nrules: [{id: system, title: B}]",
        }
    )
    assert [rule.title for rule in rules.rules] == ["A", "B"]


@pytest.mark.parametrize(
    ("name", "base", "read"),
    [
        ("rules.yaml", "base.yaml", "base.yaml"),
        ("dir/rules.yaml", "base.yaml", "dir/base.yaml"),
        ("dir/rules.yaml", "../base.yaml", "base.yaml"),
        ("/etc/x/rules.yaml", "../base.yaml", "/etc/base.yaml"),
        ("dir/rules.yaml", "/etc/base.yaml", "/etc/base.yaml"),
        ("dir/rules.yaml", "sub/./base.yaml", "dir/sub/base.yaml"),
    ],
)
def test_paths_are_beside_the_file_that_names_them(name: str, base: str, read: str) -> None:
    rules = loaded({name: f"version: 1\nextends: [{base}]", read: BASE}, name)
    assert [rule.id for rule in rules.rules] == ["memory", "system"]
    assert rules.origin == name


def test_the_digest_changes_with_every_file() -> None:
    assert over("").sha256 != over("", BASE + "# more\n").sha256
    assert over("").sha256 == over("").sha256


def test_what_an_unreadable_file_may_hold_is_not_missing_at_any_depth() -> None:
    files = {
        "a.yaml": "version: 1\nextends: [b.yaml]\nwaivers:\n"
        "  - {rule: c, reason: r, owner: o, until: 2027-01-31}\n",
        "b.yaml": "version: 1\nextends: [gone.yaml]\n",
    }

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "gone")
        return files[name].encode()

    with pytest.raises(InputError) as fault:
        pipeline.load_ruleset("a.yaml", read)
    assert [str(problem) for problem in fault.value.problems] == [
        "b.yaml:2:11: cannot read gone.yaml: gone"
    ]


@pytest.mark.parametrize("name", [DEFAULT_RULE_SET, GENERAL_RULE_SET])
def test_every_bundled_rule_has_a_sentence_for_when_it_is_not_met(name: str) -> None:
    ruleset = loaded({}, name)
    assert [rule.id for rule in ruleset.rules if not rule.problem] == []
    # for several services that are alike, their names stand in one sentence
    assert [r.id for r in ruleset.rules if r.for_each and "{item}" not in (r.problem or "")] == []
