"""Rules held against a requirements document: what of either isn't in the other, and where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines import missing
from paths import ROOT
from preflight import check as pipeline
from preflight.cli.streams import read_rules
from preflight.model.problems import InputError, Problem
from preflight.model.rules import DEFAULT_RULES, RuleSet
from preflight.rules.agreement import Agreement, compare
from preflight.rules.figures import figures
from preflight.rules.markdown import MAX_DOCUMENT, Block, Document, read

REQUIREMENTS = ROOT.parent / "shared" / "requirements.md"

DOCUMENT = """\
# The plan

Size
----
- **RAM**: 10GB (better 12 GB+), swap 2-4GB
- CPU: 4 cores
- Docker 20.10 or later

### `Service` *one*
```yaml
limits:
  memory: 8G
  cpus: '0.5'
```
- `KEEP_ALIVE=5m`, `UNBUFFERED=1`, `MODE=fast`

| model | needs |
|-------|------:|
| `small:1b` | ~1.6GB |
| `large` | 4 GB |
"""
RULES = """\
version: 1
rules:
  - {id: a, title: A, section: Size, fact: host.memory.total, %s}
"""
SERVICE = """\
version: 1
rules:
  - {id: a, title: A, section: Service one, for_each: compose.services, fact: %s}
"""


def loaded(text: str, base: str = "") -> RuleSet:
    files = {"r.yaml": text, "base.yaml": base}
    return pipeline.load("r.yaml", lambda name: files[name].encode())


def against(rules: str, document: str = DOCUMENT, base: str = "") -> Agreement:
    return compare(loaded(rules, base), read(document.encode(), "d.md"))


def said(found: Agreement) -> list[str]:
    return [str(one) for one in found.problems]


def asks(condition: str, fact: str = "host.memory.total", section: str = "Size") -> list[str]:
    rules = RULES.replace("host.memory.total", fact).replace("section: Size", f"section: {section}")
    return said(against(rules % condition))


# the project's own document and rules


def document() -> str:
    if not REQUIREMENTS.exists():
        missing("../shared/requirements.md is not beside this checkout")
    return REQUIREMENTS.read_text(encoding="utf-8")


def bundled(text: str) -> Agreement:
    return compare(pipeline.load(DEFAULT_RULES, read_rules), read(text.encode(), "requirements.md"))


def test_the_bundled_rules_state_their_document() -> None:
    found = bundled(document())
    assert said(found) == []
    assert found.rules > 50
    assert found.figures > 30
    remarks = [f"requirements.md:{one.line} {one.message}" for one in found.remarks]
    assert remarks == [  # an error in the example of a log
        "requirements.md:62 no rule states 5.7 GiB (in a block of code)",
        "requirements.md:62 no rule states 2.8 GiB (in a block of code)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("**Total RAM**: 10GB", "**Total RAM**: 11GB", "rule host-memory: 10 GB isn't in 'Minimum"),
        ("20GB free", "20GiB free", "requirements.md; 20GiB in line 9 is binary"),
        ("4 cores", "6 cores", "rule host-cpus: 4 isn't in"),
        ("memory: 8G ", "memory: 8000M ", "rule ollama-memory-limit: 8 GiB isn't in"),
        ("cpus: '0.5'", "cpus: '0.25'", "rule api-cpu-reservation: 0.5 isn't in"),
        ("KEEP_ALIVE=5m", "KEEP_ALIVE=10m", "rule ollama-keep-alive: 5m isn't in"),
        ("UNBUFFERED=1", "UNBUFFERED=0", "rule python-unbuffered: PYTHONUNBUFFERED=true isn't"),
        ("(~1.4GB)", "(~1.5GB)", "model gemma:2b: 1.4 GB isn't in requirements.md"),
        ("### Minimum System", "### Least System", "rule docker-cpus: no section 'Minimum System"),
    ],
)  # fmt: skip
def test_a_change_of_the_document_is_found(old: str, new: str, words: str) -> None:
    text = document()
    assert old in text
    found = said(bundled(text.replace(old, new)))
    assert any(words in one for one in found), found


@pytest.mark.parametrize(
    ("figure", "field", "swapped"),
    [
        ("10GB", "require: {at_least: 10GB}\n    recommend: {at_least: 12GB}", "12GB"),
        ("8GiB", "recommend: {equals: 8GiB}", "8GB"),
        ("4GB", 'mistral:7b-instruct-q4_0", memory: 4GB', "4GiB"),
        ("637MB", "memory: 637MB", "673MB"),
    ],
)
def test_a_change_of_the_rules_is_found(figure: str, field: str, swapped: str) -> None:
    text = (ROOT / "rules.yaml").read_text(encoding="utf-8")
    assert field in text
    changed = text.replace(field, field.replace(figure, swapped, 1), 1)
    ruleset = pipeline.load("rules.yaml", lambda _: changed.encode())
    found = compare(ruleset, read(document().encode(), "requirements.md"))
    if figure == "10GB":  # 12GB stands there too: what is missing then is the 10GB
        assert any("no rule states 10GB" in one.message for one in found.remarks)
    else:
        assert len(said(found)) == 1


def test_a_figure_of_the_document_that_is_new_is_remarked() -> None:
    added = document().replace(
        "### Memory Allocation\n", "- **Swap**: 3GB\n\n### Memory Allocation\n"
    )
    (remark, *_) = bundled(added).remarks
    assert str(remark) == "requirements.md:11:13: no rule states 3GB"


# figures of rules


@pytest.mark.parametrize(
    "condition",
    [
        "require: {at_least: 10GB}",
        "require: {at_least: 10000000000}",
        "require: {at_least: 10 GB}, recommend: {at_least: 12000MB}",
        "require: {at_least: {sum: [10GB, 12GB]}}",
        "require: {any_of: [{at_least: 10GB}, {not: {less_than: 12GB}}]}",
        "require: {one_of: [10GB, 12GB]}",
        "require: {at_least: {fact: host.memory.usable, times: 0.9}}",
        "require: {at_least: {fact: host.memory.usable, plus: 2GB}}",
        "require: {at_least: {fact: host.memory.usable, plus: -2GB}}",
        "require: {at_most: 4GB, at_least: 2GB}",
        "require: {exists: true, more_than: 0}",
    ],
)
def test_a_figure_that_stands_in_its_section(condition: str) -> None:
    assert asks(condition) == []


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("require: {at_least: 11GB}", "11 GB isn't in 'Size' of d.md, which has 10GB, 12 GB, 2GB"),
        ("require: {at_least: 10GiB}", "10 GiB isn't in 'Size' of d.md; 10GB in line 5 is decimal"),
        ("recommend: {at_least: 8GB}", "8 GB isn't in 'Size' of d.md; 8G in line 12 is binary"),
        ("require: {at_least: {sum: [10GB, 3GB]}}", "3 GB isn't in"),
        ("require: {at_least: {fact: host.memory.usable, plus: 3GB}}", "3 GB isn't in"),
        ("require: {not: {any_of: [{at_least: 3GB}]}}", "3 GB isn't in"),
        ("require: {at_least: 1.23456GB}", "rule a: 1.235 GB isn't in"),
    ],
)
def test_a_figure_that_does_not(condition: str, words: str) -> None:
    (problem,) = asks(condition)
    assert problem.startswith("r.yaml:3:5: rule a: ")
    assert words in problem


@pytest.mark.parametrize(
    ("fact", "condition", "words"),
    [
        ("host.cpu.logical", "require: {at_least: 3}", "3 isn't in 'Size' of d.md, which has 4"),
        ("host.cpu.logical", "require: {at_least: 0.12345}", "rule a: 0.123 isn't in 'Size'"),
        ("env.MODE", "require: {equals: Slow}", "MODE=Slow isn't in 'Size' of d.md, which has MO"),
        ("env.UNBUFFERED", "type: boolean, require: {equals: false}",
         "UNBUFFERED=false isn't in 'Size' of d.md, which has UNBUFFERED=1"),
        ("docker.version", "require: {version: '>=19'}",
         "rule a: 19 isn't in 'Size' of d.md, which has 4, 20.10"),
        ("env.MODE", "require: {equals: slow}", "MODE=slow isn't in 'Size' of d.md, which has MO"),
        ("env.OTHER", "require: {equals: slow}", "OTHER=slow isn't in 'Size' of d.md, which has "),
    ],
)  # fmt: skip
def test_what_stands_there_instead_is_of_its_kind(fact: str, condition: str, words: str) -> None:
    (problem,) = asks(condition, fact)
    assert words in problem


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ("", ", which has none of its kind"),
        ("1GB 2GB 1GB", ", which has 1GB, 2GB"),
        ("1GB 2GB for 4 cores", ", which has 1GB, 2GB"),
        ("1GB 2GB 3GB 4GB 5GB 6GB", ", which has 1GB, 2GB, 3GB, 4GB, 5GB, 6GB"),
        ("1GB 2GB 3GB 4GB 5GB 6GB 7GB", ", which has 1GB, 2GB, 3GB, 4GB, 5GB, 6GB …"),
    ],
)
def test_of_many_figures_some_are_named(sizes: str, told: str) -> None:
    (problem,) = said(against(RULES % "require: {at_least: 99GB}", f"# Size\n{sizes}\n"))
    assert problem == f"r.yaml:3:5: rule a: 99 GB isn't in 'Size' of d.md{told}"


def test_how_much_agrees_is_counted() -> None:
    rules = RULES % "require: {at_least: 10GB}, recommend: {at_least: 12GB}" + (
        "  - {id: b, title: B, section: Size, fact: host.cpu.logical, require: {at_least: 4}}\n"
        "  - {id: c, title: C, fact: host.os, require: {equals: linux}}\n"
        "models: [{name: large, memory: 4GB}, {name: 'small:1b', memory: 1.6GB}]\n"
    )
    found = against(rules)
    assert (found.problems, found.rules, found.figures) == ((), 2, 5)


@pytest.mark.parametrize(
    ("fact", "condition", "good"),
    [
        ("host.cpu.logical", "require: {at_least: 4}", True),
        ("host.cpu.logical", "require: {at_least: 4.0}", True),
        ("host.cpu.logical", "require: {at_least: 0.5}", True),
        ("host.cpu.logical", "require: {at_least: 3}", False),
        ("host.cpu.logical", "require: {at_least: 10}", False),  # it is a size there
        ("docker.version", "require: {version: '>=20.10'}", True),
        ("docker.version", "require: {version: '>=20.1'}", False),
        ("docker.version", "require: {version: '>=20.10,<30'}", False),
        ("env.KEEP_ALIVE", "type: duration, require: {at_most: 300s}", True),
        ("env.KEEP_ALIVE", "type: duration, require: {at_most: 6m}", False),
        ("env.OTHER", "type: duration, require: {at_most: 5m}", True),
        ("env.UNBUFFERED", "type: boolean, require: {equals: true}", True),
        ("env.UNBUFFERED", "type: boolean, require: {equals: false}", False),
        ("env.UNBUFFERED", "type: number, require: {equals: 1}", True),
        ("env.UNBUFFERED", "type: number, require: {equals: 4}", False),  # elsewhere, not there
        ("env.MODE", "require: {equals: fast}", True),
        ("env.MODE", "require: {one_of: [fast, slow]}", False),
        ("env.MODE", "require: {matches: '^f'}", True),
        ("host.os", "require: {equals: linux}", True),  # a word is no figure
        ("docker.reachable", "require: {equals: true}", True),
    ],
)
def test_counts_versions_times_and_variables(fact: str, condition: str, good: bool) -> None:
    assert (asks(condition, fact) == []) is good


@pytest.mark.parametrize(
    ("fact", "bound", "good"),
    [
        ("limits.memory", "8GiB", True),
        ("limits.memory", "8GB", False),
        ("limits.memory", "10GB", False),  # of the section above
        ("limits.cpus", "0.5", True),
        ("environment.MODE", "fast", True),
        ("environment.MODE", "slow", False),
    ],
)
def test_a_section_is_what_stands_under_it(fact: str, bound: str, good: bool) -> None:
    found = against(SERVICE % f"{fact}, recommend: {{equals: {bound}}}")
    assert (said(found) == []) is good


def test_vars_count_as_they_are_used() -> None:
    rules = "version: 1\nvars: {size: %s}\n" + RULES.split("\n", 1)[1] % (
        'require: {at_least: "${size}"}'
    )
    assert said(against(rules % "12GB")) == []
    assert len(said(against(rules % "13GB"))) == 1


# sections


@pytest.mark.parametrize(
    ("section", "hint"),
    [
        ("Sizes", ", did you mean 'Size'?"),
        ("size", ", did you mean 'Size'?"),
        ("Service two", ", did you mean 'Service one'?"),
        ("`Service` *one*", ", did you mean 'Service one'?"),
        ("Nothing like it", ""),
    ],
)
def test_a_section_that_is_not_there(section: str, hint: str) -> None:
    condition = "require: {at_least: 99GB}"
    assert asks(condition, section=f'"{section}"') == [
        f"r.yaml:3:5: rule a: no section {section!r} in d.md{hint}"
    ]


def test_of_two_sections_of_one_name_both_count() -> None:
    text = "# S\n1GB\n# T\n2GB\n# S\n3GB\n"
    for size, good in (("1GB", True), ("2GB", False), ("3GB", True)):
        rules = RULES.replace("Size", "S") % f"require: {{equals: {size}}}"
        assert (said(against(rules, text)) == []) is good


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: Size\nram: 1GB\n---\n# Size\n10GB\n",
        "\ufeff# Size #\r\n\r\n10GB\r\n",
        "# Size\n> # Quoted\n> 1GB\n\n10GB\n",
        "# Size\n- # Listed\n- 1GB\n\n10GB\n",
        "# Size\n| a | b |\n|--|--|\n| x | 10GB |\n",
        "# [Size](http://x/9GB)\n**10**GB and ![10GB](y)\n",
        "# Size\n10\u00a0GB\n",
        "# Size\n10GB<br>4GB\n",
        "# Size\nabout\n10\nGB\n",
        "# Size\n10GB  \n4GB\n",
        "# Size\n## A\n### B\n10GB\n",
        "<!-- # Size 1GB -->\n# Size\n10GB\n",
    ],
)
def test_ways_to_write_it(text: str) -> None:
    assert said(against(RULES % "require: {at_least: 10GB}", text)) == []


def test_the_rules_of_other_documents_are_left_out() -> None:
    base = "version: 1\nsource: Theirs\nrules:\n" + "".join(
        f"  - {{id: {name}, title: B, section: Gone, fact: host.memory.total, "
        f"require: {{at_least: 77GB}}{more}}}\n"
        for name, more in (("b", ""), ("c", ""))
    )
    own = (
        "version: 1\nextends: [base.yaml]\n%srules:\n"
        "  - {id: a, title: A, section: Size, fact: host.memory.total, require: {at_least: 1GB}}\n"
    )
    assert [one.split()[2] for one in said(against(own % "", base=base))] == ["b:", "c:", "a:"]
    found = said(against(own % "source: Mine\n", base=base))
    assert [one.split()[2] for one in found] == ["a:"]
    marked = (own % "source: Mine\n").replace("{id: a,", "{id: a, document: false,")
    assert said(against(marked, base=base)) == []


# models


@pytest.mark.parametrize(
    ("model", "problems", "remarks"),
    [
        ("{name: 'small:1b', memory: 1.6GB}", [], 0),
        ("{name: 'small:1b', memory: 4GB}", ["4 GB isn't in d.md, which has 1.6GB"], 0),
        ("{name: large, memory: 4GB}", [], 0),
        ("{name: large, memory: 4GiB}", ["4 GiB isn't in d.md; 4 GB in line 20 is decimal"], 0),
        ("{name: small, memory: 1.6GB}", [], 1),  # small:1b is another one
    ],
)
def test_a_models_memory_stands_beside_its_name(
    model: str, problems: list[str], remarks: int
) -> None:
    found = against(f"version: 1\nmodels: [{model}]\n")
    assert [one.split(": ", 2)[2] for one in said(found)] == problems
    unnamed = [str(one) for one in found.remarks if "doesn't name it" in one.message]
    assert unnamed == ["r.yaml:2:10: model small: d.md doesn't name it"][:remarks]


def test_a_model_whose_line_has_no_size_is_looked_for_in_its_section() -> None:
    text = "# M\nTake `m`.\n\nIt needs 2GB.\n# N\n3GB\n"
    assert said(against("version: 1\nmodels: [{name: m, memory: 2GB}]\n", text)) == []
    assert said(against("version: 1\nmodels: [{name: m, memory: 3GB}]\n", text)) == [
        "r.yaml:2:10: model m: 3 GB isn't in d.md, which has 2GB"
    ]


def test_a_model_that_two_sections_name_takes_what_either_says() -> None:
    text = "# M\n`m` takes 2GB.\n# N\n`m` takes 3GB.\n"
    for size, good in (("2GB", True), ("3GB", True), ("4GB", False)):
        found = against(f"version: 1\nmodels: [{{name: m, memory: {size}}}]\n", text)
        assert (said(found) == []) is good


def test_a_size_that_a_model_takes_is_no_figure_that_nobody_states() -> None:
    text = "# M\n| `m` | 2GB |\n|---|---|\n| swap | 3GB |\n"
    found = against("version: 1\nmodels: [{name: m, memory: 2GB}]\n", text)
    assert [str(one) for one in found.remarks] == ["d.md:4:10: no rule states 3GB"]


def test_what_has_no_place_is_told_without_one() -> None:
    ruleset = loaded(RULES % "require: {at_least: 99GB}" + "models: [{name: m, memory: 2GB}]\n")
    nowhere = {"file": "r.yaml", "line": None, "column": None}
    found = compare(
        ruleset._replace(
            rules=tuple(one._replace(**nowhere) for one in ruleset.rules),
            models=tuple(one._replace(**nowhere) for one in ruleset.models),
        ),
        read(DOCUMENT.encode(), "d.md"),
    )
    assert said(found)[0].startswith("r.yaml: rule a: 99 GB isn't in 'Size'")
    assert str(found.remarks[0]) == "r.yaml: model m: d.md doesn't name it"
    assert {one[:3] for one in (*found.problems, found.remarks[0])} == {("r.yaml", 0, 0)}


# what no rule states


def unstated(text: str, rules: str = "version: 1\nrules: []\n") -> list[str]:
    found = against(rules, text).remarks
    assert {one.file for one in found} <= {"d.md"}
    return [f"{one.line}:{one.column} {one.message}" for one in found]


def test_what_no_rule_states_is_remarked_with_its_line() -> None:
    rules = RULES % "require: {at_least: 10GB}, recommend: {at_least: 12GB}"
    assert [one.split(" no rule states ") for one in unstated(DOCUMENT, rules)] == [
        ["5:39", "2GB"], ["5:41", "4GB"], ["6:8", "4"], ["7:10", "20.10"],
        ["12:11", "8G (in a block of code)"], ["13:10", "0.5 (in a block of code)"],
        ["15:4", "KEEP_ALIVE=5m"], ["15:21", "UNBUFFERED=1"],
        ["19:17", "1.6GB"], ["20:13", "4 GB"],
    ]  # fmt: skip


def test_a_figure_is_stated_by_the_rules_of_its_section() -> None:
    text = "# S\n10GB\n## T\n10GB\n# U\n10GB\n"
    rules = RULES % "require: {at_least: 10GB}"
    assert unstated(text, rules.replace("Size", "S")) == ["6:1 no rule states 10GB"]
    everywhere = rules.replace("section: Size, ", "")
    assert unstated(text, everywhere) == []


@pytest.mark.parametrize(
    "text",
    [
        "See gemma:2b, q4_0, 7B, v1beta1, sha256:12ab, #12 is fine",
        "On 2024-11-23 at 12:30, port 8080:80, 127.0.0.1:99, /opt/3.1/x, 90%, 5.5 %",
        "```sh\ndocker logs --tail 50 -n 3\n```",
        "run `docker logs --tail 50`",
        "1. first\n2. second",
        "## 3 Third\n\n`MODE=fast`",
        "[x](http://h/10GB) <http://h/10GB>",
    ],
)
def test_what_is_no_requirement_is_not_remarked(text: str) -> None:
    found = unstated(f"# S\n{text}\n")
    assert [one for one in found if "states 12" not in one] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Take `10GB`.", "2:7 no rule states 10GB"),
        ("Set KEEP_ALIVE=5m.", "2:5 no rule states KEEP_ALIVE=5m"),
        ("1&#48;GB", "2:1 no rule states 10GB"),  # which no text of its line is
        ("at 100% of 10 GB", "2:12 no rule states 10 GB"),
        ("about 10\nGB", "2:7 no rule states 10 GB"),
    ],
)
def test_what_is_remarked_stands_as_it_is_written(text: str, told: str) -> None:
    assert unstated(f"# S\n{text}\n") == [told]


# what a figure may mean


@pytest.mark.parametrize(
    ("text", "fact", "condition", "good"),
    [
        ("5000", "host.memory.total", "require: {at_least: 5000}", True),  # bytes without a unit
        ("5000", "env.X_Y", "type: duration, require: {at_least: 5000s}", True),
        ("1h30m", "env.X_Y", "type: duration, require: {at_least: 90m}", True),
        ("`X_Y=8G`", "env.X_Y", "type: bytes, require: {equals: 8GB}", True),
        ("`X_Y=8G`", "env.X_Y", "type: bytes, require: {equals: 8GiB}", False),
        ("`X_Y=300`", "env.X_Y", "type: duration, require: {equals: 5m}", True),
        ("`X_Y=300B`", "env.X_Y", "type: duration, require: {equals: 300}", False),
        ("250ms", "env.X_Y", "type: duration, require: {at_most: 250ms}", True),
        ("cgroup v2", "docker.cgroup.version", "require: {equals: 2}", True),
    ],
)
def test_a_figure_means_what_the_rule_reads_it_as(
    text: str, fact: str, condition: str, good: bool
) -> None:
    rules = (RULES % condition).replace("host.memory.total", fact)
    assert (said(against(rules, f"# Size\n{text}\n")) == []) is good


@pytest.mark.parametrize(
    ("asked", "text", "told"),
    [
        ("64kB", "64KiB", "64 kB isn't in 'Size' of d.md; 64KiB in line 2 is binary"),
        ("64KiB", "64kB", "65.536 kB isn't in 'Size' of d.md; 64kB in line 2 is decimal"),
    ],
)
def test_a_small_size_of_the_other_family_is_named_too(asked: str, text: str, told: str) -> None:
    (problem,) = said(against(RULES % f"require: {{at_least: {asked}}}", f"# Size\n{text}\n"))
    assert problem == f"r.yaml:3:5: rule a: {told}"


def test_the_same_size_elsewhere_is_not_said_to_be_of_the_other_family() -> None:
    rules = (RULES % "type: bytes, require: {equals: 8GB}").replace("host.memory.total", "env.A_B")
    (problem,) = said(against(rules, "# Size\n8GB\n\n`A_B=4GB`\n"))
    assert ", which has 8GB" in problem
    assert "is decimal" not in problem


def test_another_count_is_not_said_to_be_of_the_other_family() -> None:
    (problem,) = said(against(RULES % "require: {at_least: 1000PB}", "# Size\n1024PiB\n"))
    assert problem.endswith(", which has 1024PiB")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("10GB 10 GB 10gb 10 gigabytes", [10**10] * 4),
        ("10GiB 10 gib 10Gi 10 gibibytes", [10 * 2**30] * 4),
        ("10,000,000,000 bytes", [10**10]),
        ("6-8GB 6 – 8 GB 6 to 8GB", [6 * 10**9, 8 * 10**9] * 3),
        ("512MB-2GB", [512 * 10**6, 2 * 10**9]),
        ("8GB/16GB 8GB,16GB (8GB) ~8GB, ≥8GB. 8GB+",
         [8 * 10**9, 16 * 10**9] * 2 + [8 * 10**9] * 4),
        ("10GBx x10GB 10G1 1e9", []),
        ("1.5TB 637MB 64kB", [15 * 10**11, 637 * 10**6, 64000]),
    ],
)  # fmt: skip
def test_sizes_in_prose(text: str, sizes: list[int]) -> None:
    found = [value for one in figures(Block(text, 1)) for kind, value in one.readings
             if kind == "bytes"]  # fmt: skip
    assert found == sizes


def test_sizes_in_code_are_those_of_compose() -> None:
    compose = [2**33, 2**33, 2**33, 2**29]
    block = Block("8G 8gb 8GiB 512m", 1, (), "yaml")
    (span,) = figures(Block("8G", 1, ((0, 2),)))
    (named,) = figures(Block("8GB", 1, ((0, 3),)))
    assert [dict(one.readings)["bytes"] for one in figures(block)] == compose
    assert dict(span.readings)["bytes"] == 2**33
    assert dict(named.readings)["bytes"] == 8 * 10**9


# what is no document


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no heading in it"),
        (b"just text, 10GB\n", "no heading in it"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "no UTF-8 text"),
        (b"# S\n\0", "no text"),
        (b"# S\n" + b"x" * MAX_DOCUMENT, "larger than 1 MiB"),
    ],
)
def test_what_is_no_document(data: bytes, words: str) -> None:
    with pytest.raises(InputError) as fault:
        read(data, "d.md")
    told = f"{words}: no requirements document in Markdown"
    assert fault.value.problems == (Problem("d.md", 0, 0, told),)


@pytest.mark.parametrize(
    "text",
    [">" * 50_000, "[" * 50_000, "1." * 50_000, "1-" * 50_000, "A=1\n" * 20_000, "`" * 50_000,
     "|1" * 20_000 + "\n" + "|-" * 20_000, "#\n" * 50_000, "\u202e1GB\ud7ff" * 20_000],
)  # fmt: skip
def test_whatever_it_holds_it_is_read(text: str) -> None:
    made = read(f"# S\n{text}\n".encode(), "d.md")
    assert isinstance(made, Document)
    compare(loaded(RULES % "require: {at_least: 1GB}"), made)


MARKS = (
    *("# ", "## ", "\n", "\n\n", "- ", "> ", "| ", "|-", "`", "```", "**", "---", "    ", "<!--"),
    *("10GB", "8G", "5m", "=", "A_B", ": ", "-", " to ", "4", ".", ",", "![", "](", "\\", "m:1b"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=3)), max_size=40))
def test_any_text_is_read_and_what_is_found_stands_in_its_line(parts: list[str]) -> None:
    text = "# S\n" + "".join(parts).replace("\0", "").encode("utf-8", "replace").decode()
    made = read(text.encode(), "d.md")
    model = "models: [{name: 'm:1b', memory: 1GB}]\n"
    for one in compare(loaded(RULES % "require: {at_least: 1GB}" + model), made).remarks:
        if one.file == "d.md":
            assert 1 <= one.line <= len(made.lines)
            assert 1 <= one.column <= len(made.lines[one.line - 1]) + 1
