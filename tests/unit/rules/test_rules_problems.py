"""Rule files that can't be used: which problems are told, and where."""

from __future__ import annotations

import hashlib
import itertools
import re
import subprocess
import sys

import pytest
import yaml

from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.model.facts import FactCatalogue, FactDeclaration
from preflight.model.problems import InputError, Problem
from preflight.model.rules import BUNDLED_FILE_BY_SET, DEFAULT_RULE_SET, KNOWN_ERRORS_SET, RuleSet
from preflight.rules.load import load_ruleset
from preflight.rules.schema_decoding import RULE_FILE_DEFINITION, SCHEMA_BY_DEFINITION
from preflight.yaml_reader import MAX_YAML_NODES

CATALOGUE = FactCatalogue(
    [
        *pipeline.build_catalogue().facts,
        FactDeclaration("app.*.size", "bytes", ""),
        FactDeclaration("app.*.image", "text", ""),
        FactDeclaration("app.*.wait", "seconds", ""),
    ]
)
RULE_TEXT = "  - {id: a, title: A, fact: host.memory.total, require: {at_least: 1B}}\n"

MERGE_KEYS = "merge keys aren't supported; use extends"


def loaded(text: str | bytes, **sets: str) -> RuleSet:
    data = text if isinstance(text, bytes) else text.encode()

    def read(name: str) -> bytes:
        if name in BUNDLED_FILE_BY_SET and name != KNOWN_ERRORS_SET:
            raise FileNotFoundError(name)  # else a rule that the file lacks is searched for in each
        return data

    return load_ruleset("r.yaml", read, CATALOGUE, sets)


def problems(text: str | bytes, **sets: str) -> list[str]:
    with pytest.raises(InputError) as fault:
        loaded(text, **sets)
    return [str(problem) for problem in fault.value.problems]


def rule(keys: str) -> str:
    """A file with one rule, whose further keys begin in line 4."""
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    return f"version: 1\nrules:\n  - id: a\n{lines}"


def diagnosed(fields: str) -> str:
    return "version: 1\ndiagnoses:\n- {id: x, title: X}\n".replace(
        "{id: x, title: X}\n", fields.replace("\n", "\n  ") + "\n  id: x\n  title: X\n"
    )


def with_a(lines: str) -> str:
    """A file with a rule `a` that is right, and these lines from line 4."""
    return f"version: 1\nrules:\n{RULE_TEXT}{lines}"


def judged(condition: str, fact: str = "host.memory.total") -> str:
    return rule(f"title: A\nfact: {fact}\nrequire: {condition}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["r.yaml:1:1: the file is empty"]),
        ("# nothing\n", ["r.yaml:1:1: the file is empty"]),
        ("---\n", ["r.yaml:2:1: expected a rule file as a mapping, found null"]),
        ("just text", ["r.yaml:1:1: expected a rule file as a mapping, found text"]),
        ("[]", ["r.yaml:1:1: expected a rule file as a mapping, found a list"]),
        ("a: b: c", ["r.yaml:1:5: mapping values are not allowed in this context"]),
        (
            "version: 1\n---\nversion: 1\n",
            ["r.yaml:3:1: expected a single document in the stream"],
        ),
        ("version: *x", ["r.yaml:1:10: found undefined alias"]),
        (
            b"version: 1\nname: \xff\n",
            ["r.yaml:2:7: the file isn't text: invalid leading UTF-8 octet"],
        ),
        (
            b"\xef\xbb\xbfversion: 1\n\xff",
            ["r.yaml:2:1: the file isn't text: invalid leading UTF-8 octet"],
        ),
        (
            "\ufeffname: ä".encode() + b"\xff",
            ["r.yaml:1:8: the file isn't text: invalid leading UTF-8 octet"],
        ),
        (
            b"\x7fELF\x02\x01\x01\x00\x00",
            ["r.yaml:1:1: the file isn't text: control characters are not allowed"],
        ),
        (
            b"version: 1\nname: \x07\n",
            ["r.yaml:2:7: the file isn't text: control characters are not allowed"],
        ),
        (b"#" * (16 * 2**20 + 1), ["r.yaml: the file is larger than 16 MiB"]),
        ("{}", ["r.yaml:1:1: a rule file needs 'version'"]),
        ("version: 2", ["r.yaml:1:10: expected 1, found '2'"]),
        (
            "version: 2\nname: 5\nrules: [{id: a, fact: host.os, require: {exists: true}}]",
            [
                "r.yaml:1:10: expected 1, found '2'",
                "r.yaml:2:7: expected text, found a number: quote it if it is text",
                "r.yaml:3:9: a rule needs 'title'",
            ],
        ),
        ("version: [1]", ["r.yaml:1:10: expected 1, found a list"]),
        ("version: '1'", ["r.yaml:1:10: expected 1, found '1' in quotes"]),
        ("version:", ["r.yaml:1:9: a rule file needs 'version'"]),
        ("version: 1\nversion: 1", ["r.yaml:2:1: duplicate key 'version'"]),
        ("version: 1\nname: [x]", ["r.yaml:2:7: expected text, found a list"]),
        (
            "version: 1\nname: 5",
            ["r.yaml:2:7: expected text, found a number: quote it if it is text"],
        ),
        (
            "version: 1\nruls: []",
            ["r.yaml:2:1: unknown key 'ruls' in a rule file, did you mean 'rules'?"],
        ),
        ("version: 1\n? [a]\n: b", ["r.yaml:2:3: expected a name, found a list"]),
        (
            "version: 1\n<<: {name: x}",
            [f"r.yaml:2:1: unknown key '<<' in a rule file ({MERGE_KEYS})"],
        ),
        ("version: 1\nrules: {a: b}", ["r.yaml:2:8: expected a list, found a mapping"]),
        ("version: 1\nrules: [5]", ["r.yaml:2:9: expected a rule as a mapping, found a number"]),
        (
            "version: 1\nrules: [{}]",
            [f"r.yaml:2:9: a rule needs '{key}'" for key in ("fact", "id", "title")],
        ),
        (
            "version: 1\nextends: default",
            ["r.yaml:2:10: expected a list, found text"],
        ),
        (  # what the files may hold isn't called missing
            "version: 1\nextends: default\nrules: [{id: a, needs: [b]}]",
            ["r.yaml:2:10: expected a list, found text"],
        ),
        ("version: 1\nextends: [nowhere.yaml]", ["r.yaml:2:11: cannot read nowhere.yaml: gone"]),
        (
            "version: 1\nextends: [r.yaml]",
            ["r.yaml:2:11: a file can't extend itself: r.yaml → r.yaml"],
        ),
    ],
)
def test_a_file_that_is_none(text: str | bytes, said: list[str]) -> None:
    def read(name: str) -> bytes:
        if name != "r.yaml":
            raise FileNotFoundError(2, "gone")
        return text if isinstance(text, bytes) else text.encode()

    with pytest.raises(InputError) as fault:
        load_ruleset("r.yaml", read, CATALOGUE)
    assert [str(problem) for problem in fault.value.problems] == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # names
        (rule("title: A\nfact: host.memory.total"), ["3:5: a rule needs 'require' or 'recommend'"]),
        (rule("fact: host.memory.total\nrequire: {at_least: 1B}"), ["3:5: a rule needs 'title'"]),
        (rule("title: A\nrequire: {at_least: 1}"), ["3:5: a rule needs 'fact'"]),
        (rule("title: A\ntype: bytes\nrequire: {at_least: 1B}"), ["3:5: a rule needs 'fact'"]),
        (
            rule("title:\nfact: ~\nrequire: null"),
            ["4:11: a rule needs 'title'", "5:11: a rule needs 'fact'"],
        ),
        (
            rule("titel: A\nfact: host.memory.totl\nrequire: {at_last: 1}\ntitle: A"),
            [
                "4:5: unknown key 'titel' in a rule, did you mean 'title'?",
                "5:11: unknown fact 'host.memory.totl', did you mean 'host.memory.total'?",
                "6:15: unknown condition 'at_last', did you mean 'at_least'?",
            ],
        ),
        (
            rule("title: A\nfact: host.oss\nrecommend: {at_last: 1}"),
            ["5:11: unknown fact 'host.oss'", "6:17: unknown condition 'at_last'"],
        ),
        (
            rule("title: A\nfact: host.oss\ntype: size\nrequire: {at_least: 1}"),
            ["5:11: unknown fact 'host.oss'", "6:11: expected bytes or duration or"],
        ),
        (judged("{at_last: 1}"), ["6:15: unknown condition 'at_last', did you mean 'at_least'?"]),
        (judged("{'>=': 1GB}"), ["6:15: unknown condition '>=', did you mean 'at_least'?"]),
        (
            judged("{exists: true}", "host.cpu.cores"),
            ["5:11: unknown fact 'host.cpu.cores', did you mean 'host.cpu.logical'?"],
        ),
        (
            judged("{equals: true}", "net.connect.smtp.example.com"),
            ["5:11: 'net.connect.smtp.example.com' has no port: expected a name and a port"],
        ),
        *(
            (
                judged("{equals: true}", f"host.ports.{port}.free"),
                [f"5:11: 'host.ports.{port}.free' has no valid port: expected one to 65535"],
            )
            for port in ("0", "65536", "080", "http")
        ),
        (
            judged("{equals: true}", "net.connect.smtp.example.com.65536"),
            ["5:11: 'net.connect.smtp.example.com.65536' has no port: expected a name and a port"],
        ),
        (  # the name of the service stays
            judged("{exists: true}", "services.api.image"),
            ["5:11: unknown fact 'services.api.image', did you mean 'compose.services.api.image'?"],
        ),
        (judged("{}"), ["6:14: expected a condition such as at_least: 8GB, found none"]),
        (judged("5"), ["6:14: expected a condition as a mapping, found a number"]),
        (judged("{type: bytes}"), ["6:14: expected a condition such as at_least: 8GB, found none"]),
        (
            "version: 1\nrules: [{id: A b, title: A, fact: host.os, require: {exists: true}}]",
            ["2:14: expected an id in kebab-case such as"],
        ),
        (
            "version: 1\nrules: [{id: 'a\n\n', title: A, fact: host.os, require: {exists: true}}]",
            ["2:14: expected an id in kebab-case such as"],
        ),
        (
            "version: 1\nrules: [{id: 5, title: A, fact: host.os, require: {exists: true}}]",
            ["2:14: expected an id in kebab-case such as host-memory,"],
        ),
        (
            "version: 1\nrules: [{id: , title: A, fact: host.os, require: {exists: true}}]",
            ["2:14: a rule needs 'id'"],
        ),
        (
            f"version: 1\nrules:\n{RULE_TEXT}{RULE_TEXT}",
            ["4:10: duplicate id 'a', first used on line 3"],
        ),
        # figures
        (
            judged("{at_least: lots}"),
            ["6:25: 'lots' isn't a valid size: expected a size such as 8GB"],
        ),
        (
            judged("{at_least: 8G}"),
            ["6:25: '8G' isn't a valid size: write 8GB (decimal) or 8GiB (binary)"],
        ),
        (judged("{at_least: .nan}"), ["6:25: '.nan' isn't a valid size"]),
        (judged("{at_least: .inf}"), ["6:25: '.inf' isn't a valid size"]),
        (judged("{at_least: 1e999}"), ["6:25: '1e999' is too large"]),
        (
            judged("{at_least: }"),
            ["6:25: expected a value, found null; to check that it isn't set, use exists: false"],
        ),
        (judged("{at_least: [1]}"), ["6:25: expected a value as a mapping, found a list"]),
        (judged("{at_least: {}}"), ["6:25: expected a value, {fact: …}, or {sum: […]}"]),
        (
            judged("{at_least: {sum: []}}"),
            ["6:31: expected a list with at least one entry, found an empty list"],
        ),
        (judged("{at_least: {times: 2}}"), ["6:25: expected a value, {fact: …}, or {sum: […]}"]),
        (
            judged("{at_least: {fact: host.memory.total, times: much}}"),
            ["6:58: 'much' isn't a valid number"],
        ),
        (
            judged("{at_least: {fact: host.cpu.logical}}"),
            ["6:25: host.cpu.logical (cores) can't be compared with bytes"],
        ),
        (
            judged("{equals: {fact: host.os, times: 2}}", "host.arch"),
            ["6:23: times works only with numbers, but this fact's type is text"],
        ),
        (
            judged("{equals: {fact: host.os, plus: 2}}", "host.arch"),
            ["6:23: plus works only with numbers, but this fact's type is text"],
        ),
        (
            judged("{equals: {sum: [a]}}", "host.arch"),
            ["6:23: sum works only with numbers, but this fact's type is text"],
        ),
        (
            judged("{at_least: {fact: host.memory.total, plus: much}}"),
            ["6:57: 'much' isn't a valid size"],
        ),
        (judged("{at_least: {fact: [x]}}"), ["6:32: expected a fact, found a list"]),
        (
            judged("{at_least: 1}", "host.os"),
            ["6:25: at_least doesn't work with a fact of type text; to read it"],
        ),
        (judged("{matches: a}"), ["6:24: matches doesn't work with a fact of type bytes"]),
        (judged("{version: '>=1'}"), ["6:24: version doesn't work with a fact of type bytes"]),
        (
            judged("{equals: a}", "docker.warnings"),
            ["6:23: equals doesn't work with a fact of type list"],
        ),
        (
            judged("{type: bytes, at_least: 1}", "host.cpu.logical"),
            ["6:21: type applies only to text facts"],
        ),
        (judged("{type: size, at_least: 1}", "env.X"), ["6:21: expected bytes or duration or"]),
        (
            judged("{version: 20.10}", "docker.version"),
            ["6:24: '20.10' isn't a valid version range"],
        ),
        (judged("{matches: '('}", "host.os"), ["6:24: invalid regular expression: missing )"]),
        (judged("{matches: '(?<x>a)'}", "host.os"), ["6:24: invalid regular expression: "]),
        (judged("{matches: '(?=a)'}", "host.os"), ["6:24: a lookaround can take forever"]),
        (
            judged("{matches: 5}", "host.os"),
            ["6:24: expected a regular expression, found a number"],
        ),
        (judged("{matches: }", "host.os"), ["6:24: expected a regular expression, found null"]),
        (judged("{exists: [true]}"), ["6:23: expected true or false, found a list"]),
        (judged("{exists: 'true'}"), ["6:23: expected true or false, found 'true'"]),
        (judged("{one_of: 5}"), ["6:23: expected a list, found a number"]),
        (
            judged("{one_of: []}"),
            ["6:23: expected a list with at least one entry, found an empty list"],
        ),
        (judged("{all_of: [{at_least: x}, {at_most: y}]}"), ["6:35: 'x' isn't", "6:49: 'y' isn't"]),
        (judged("{not: {at_least: x}}"), ["6:31: 'x' isn't a valid size"]),
        # facts
        (judged("{at_least: 1}", "[host]"), ["5:11: expected the name of a fact, found a list"]),
        (
            rule("title: A\nfor_each: [app]\nfact: host.os\nrequire: {exists: true}"),
            ["5:15: expected the name of a collection, found a list"],
        ),
        (judged("{at_least: 1}", "'host..x'"), ["5:11: 'host..x' isn't a valid fact path"]),
        (judged("{at_least: 1}", "app.*.size"), ["5:11: 'app.*.size' isn't a single fact"]),
        (
            rule("title: A\nfor_each: host.memory\nfact: host.os\nrequire: {exists: true}"),
            ["5:15: unknown fact 'host.memory'"],
        ),
        (
            rule("title: A\nfor_each: host.os\nfact: host.os\nrequire: {exists: true}"),
            ["5:15: for_each needs a collection, but host.os isn't one"],
        ),
        (
            rule("title: A\nfor_each: app\nfact: sise\nrequire: {exists: true}"),
            ["6:11: unknown fact 'sise', did you mean 'size'?"],
        ),
        (
            rule("title: A\nfact: host.os\nrequire: {exists: true}\nwhen: {host.oss: linux}"),
            ["7:22: unknown fact 'host.oss', did you mean 'host.os'?"],
        ),
        (
            rule("title: A\nfact: host.os\nrequire: {exists: true}\nwhen: {docker.local: maybe}"),
            ["7:26: 'maybe' is neither true nor false"],
        ),
        (
            rule("title: A\nfact: host.os\nrequire: {exists: true}\nwhen: [docker.local]"),
            ["7:11: expected when as a mapping, found a list"],
        ),
        # fixes
        (
            rule(
                "title: A\nfact: host.os\nrequire: {exists: true}\n"
                "fixes: [{text: 'Set {expectd} {host.oss}', url: ftp://x, commnd: x}, {}]"
            ),
            [
                "7:20: unknown placeholder {expectd}, did you mean 'expected'?",
                "7:53: expected a web address, found 'ftp://x'",
                "7:62: unknown key 'commnd' in a fix, did you mean 'command'?",
                "7:74: a fix needs 'text'",
            ],
        ),
        (
            rule(
                "title: A\nfact: host.os\nrequire: {exists: true}\n"
                "error: '{whatever}'\nfixes: [{text: 'is {host.oss}'}]"
            ),
            [
                "7:12: unknown placeholder {whatever}: use actual, expected, item, missing,",
                "8:20: unknown fact 'host.oss', did you mean 'host.os'?",
            ],
        ),
        # tags
        (
            judged("{at_least: !!python/object/apply:os.system [id]}"),
            ["6:25: expected a value as a mapping, found the tag 'tag:yaml.org,2002:python/"],
        ),
        (judged("{at_least: !foo 5}"), ["6:25: expected a value, found the tag '!foo'"]),
        (judged("!foo {at_least: 5}"), ["6:14: expected a condition as a mapping, found the tag"]),
        ("version: 1\nrules: !foo []", ["2:8: expected a list, found the tag '!foo'"]),
        ("version: 1\nextends: !foo []", ["2:10: expected a list, found the tag"]),
        ("version: 1\nvars: {a: !foo 5}", ["2:11: expected a value, found the tag '!foo'"]),
        ("!foo\nversion: 1", ["1:1: expected a rule file as a mapping, found the tag '!foo'"]),
        # needs
        (
            with_a("  - {id: b, title: B, fact: host.os, require: {exists: true}, needs: [aa]}"),
            ["4:71: unknown rule 'aa', did you mean 'a'?"],
        ),
        # vars
        (
            judged("{at_least: '${much}'}") + "vars: {muhc: 1}",
            ["6:25: unknown var 'much', did you mean"],
        ),
        ("version: 1\nname: '${x}'", ["2:7: unknown var 'x'"]),
        ("version: 1\nvars: {A: 1}", ["2:11: expected a name such as system_overhead, found 'A'"]),
        ("version: 1\nvars: {a: }", ["2:11: expected a value, found null"]),
        ("version: 1\nvars: {a: [1]}", ["2:11: expected a value, found a list"]),
        ("version: 1\nvars: {a: 1, b: '${a}'}", ["2:17: a variable can't use other variables"]),
        (  # what they may hold isn't called missing
            judged("{at_least: '${much}'}") + "vars: [much]",
            ["7:7: expected vars as a mapping, found a list"],
        ),
        # models, diagnoses, waivers
        (
            "version: 1\nmodels: [{name: true, memory: 1B}]",
            ["2:17: expected text, found a boolean: quote it if it is text"],
        ),
        ("version: 1\nmodels: [{name: x}]", ["2:10: a model needs 'memory'"]),
        ("version: 1\nmodels: [{name: x, memory: big}]", ["2:28: 'big' isn't a valid size"]),
        (
            "version: 1\ndiagnoses: [{id: x, title: X, patterns: []}]",
            ["2:41: expected a list with at least one entry, found an empty list"],
        ),
        (
            "version: 1\ndiagnoses: [{id: x, title: X, patterns: ['[', 5]}]",
            [
                "2:42: invalid regular expression",
                "2:47: expected a regular expression, found a number",
            ],
        ),
        (
            diagnosed("patterns: ['a(?=b)', '(a)\\1', '(?:(?:a{99}){99}){99}']"),
            [
                "3:14: a lookaround can take forever",
                "3:24: a backreference can take forever",
                "3:33: the regular expression is too large",
            ],
        ),
        (
            diagnosed(
                "patterns: ['(?P<size>x)']\nvalues: {siz: bytes, size: gigs}\n"
                "confidence: sure\ntimes: 0\nwithin: soon\nunless: [y]"
            ),
            [
                "4:30: expected string or number or bytes or KiB or duration, found 'gigs'",
                "5:15: expected certain or likely or possible, found 'sure'",
                "6:10: expected a whole number of at least 1, found '0'",
                "7:11: 'soon' isn't a valid duration",
                "8:12: unknown diagnosis 'y'",
            ],
        ),
        (
            diagnosed(
                "patterns: ['(?P<size>x)(?P<limit>y)']\nvalues: {siz: bytes}\nwithin: 5m\n"
                "figures: ['{size}', '{sise}']"
            ),
            ["6:23: unknown placeholder {sise}, did you mean 'size'?"],
        ),
        (
            diagnosed("patterns: ['(?P<size>x)(?P<limit>y)']\nvalues: {siz: bytes}\nwithin: 5m"),
            [
                "3:13: a group can't be named 'limit', which is a calculated value",
                "4:11: no pattern has a group 'siz', did you mean",
                "5:11: within needs 'times' of 2 or more",
            ],
        ),
        (
            diagnosed(
                "patterns: ['(?P<file>x)']\n"
                "fixes: [{text: 'see {file}', command: 'rm {file}'}, {text: x, url: 'https://{file}'}]"
            ),
            ["4:10: 'file' can't be used in a command or url: whoever writes"],
        ),
        (
            diagnosed("patterns: ['(?P<x>x)']\nfixes: [{text: x, url: 'https://{x}'}]"),
            ["4:10: 'x' can't be used in a command or url: whoever writes"],
        ),
        (
            diagnosed("patterns: [a]\nvalues: []\nwithin: []\nservice: []"),
            [
                "4:11: expected values as a mapping, found a list",
                "5:11: expected a duration, found a list",
                "6:12: expected the name of a fact, found a list",
            ],
        ),
        (
            diagnosed(
                "patterns: ['(?P<took>x)']\nvalues: {took: duration}\n"
                "fixes: [{when: {lacking: {at_least: {fact: took}}}, text: x}]"
            ),
            ["5:39: log.took (seconds) can't be compared with bytes"],
        ),
        (
            diagnosed("patterns: [a]\nfixes: [{when: {lacking: soon}, text: '{actual}'}]"),
            [
                "4:28: 'soon' isn't a valid size",
                "4:41: unknown placeholder {actual}: use container",
            ],
        ),
        (
            "version: 1\nwaivers: [{rule: a, reason: r, owner: o, until: 2027-01-31}]",
            ["2:18: unknown rule 'a'"],
        ),
        (  # a bound is read by its rule's fact: only what is wrong without it is told
            with_a(
                "waivers:\n  - {rule: aa, reason: r, owner: o, until: 2027-01-31,"
                " accept: {at_least: 8GB, at_last: 1}}"
            ),
            ["5:12: unknown rule 'aa', did you mean 'a'?", "5:80: unknown condition 'at_last'"],
        ),
        (
            with_a(
                "  - {id: b}\nwaivers:\n  - {rule: b, reason: r, owner: o, until: 2027-01-31,"
                " accept: {at_least: 8GB}}"
            ),
            ["4:5: a rule needs 'fact'", "4:5: a rule needs 'title'"],
        ),
        (
            f"version: 1\nrules:\n{RULE_TEXT}waivers: [{{rule: a}}, {{rule: [a]}}, 5]",
            [
                "4:11: a waiver needs 'owner'",
                "4:11: a waiver needs 'reason'",
                "4:11: a waiver needs 'until'",
                "4:22: a waiver needs 'owner'",
                "4:22: a waiver needs 'reason'",
                "4:22: a waiver needs 'until'",
                "4:29: expected an id in kebab-case such as host-memory, found a list",
                "4:35: expected a waiver as a mapping, found a number",
            ],
        ),
        *(
            (
                with_a(f"waivers:\n  - {{rule: a, reason: r, owner: o, until: {day}}}"),
                ["5:43: expected a date such as 2027-01-31, found "],
            )
            for day in (
                "soon",
                "2027-02-30",
                "20270131",
                "2027-1-31",
                "2027-01-31T00:00:00Z",
                "[2027-01-31]",
                "٢٠٢٧-01-01",
            )
        ),
        (
            with_a(
                "waivers:\n  - {rule: a, reason: r, owner: o, until: 2027-01-31, accept: {not: x}}"
            ),
            ["5:69: expected a condition as a mapping, found text"],
        ),
    ],
)
def test_a_problem_has_its_place_and_says_what_to_write(text: str, said: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(said), found
    for one, start in zip(found, said, strict=True):
        assert one.startswith(f"r.yaml:{start}")


@pytest.mark.parametrize(
    ("fact", "unit", "hint"),
    [
        ("host.os", "text", "; to read it as another type, set type"),
        ("docker.warnings", "list", ""),
    ],
)
def test_only_of_text_is_it_said_that_a_type_reads_it(fact: str, unit: str, hint: str) -> None:
    told = f"r.yaml:6:25: at_least doesn't work with a fact of type {unit}{hint}"
    assert problems(judged("{at_least: 1}", fact)) == [told]


def test_conditions_that_are_alike_are_one_but_each_has_its_own_problems() -> None:
    def text(*operands: str) -> str:
        rules = [
            f"  - id: r{n}\n    title: A\n    fact: host.os\n    require:\n      {operand}\n"
            for n, operand in enumerate(operands)
        ]
        return f"version: 1\nvars: {{low: 5}}\nrules:\n{''.join(rules)}"

    rules = loaded(text("matches: '5'", "matches: '${low}'", "matches: '${low}'")).rules
    assert rules[0].require == rules[1].require
    assert rules[1].require is rules[2].require
    assert problems(text("equals: ${much}", "equals: ${much}")) == [
        f"r.yaml:{line}:15: unknown var 'much'" for line in (8, 13)
    ]
    unquoted = "expected a regular expression, found a number: quote it if it is text"
    assert problems(text("matches: ${low}", "matches: 5")) == [f"r.yaml:13:16: {unquoted}"]
    tagged = "expected a regular expression, found the tag '!a'"
    assert problems(text("matches: ${low}", "matches: !a 5")) == [f"r.yaml:13:16: {tagged}"]


def test_all_problems_of_a_file_are_told_at_once() -> None:
    text = (
        "version: 2\nname: [x]\nvars: {A: 1}\nextends: [gone.yaml]\nrules:\n"
        "  - {id: a, fact: nope, require: {at_least: 1}, colour: red}\n"
        "  - {id: b, title: B, fact: host.os, require: {equals: {}}}\n"
        "models: 5\nwaivers: [{rule: a, until: x}]\n"
    )

    def read(name: str) -> bytes:
        if name == "gone.yaml":
            raise PermissionError(13, "closed")
        return text.encode()

    with pytest.raises(InputError) as fault:
        load_ruleset("r.yaml", read, CATALOGUE)
    places = [str(p).split(": ")[0] for p in fault.value.problems]
    lines = [int(place.split(":")[1]) for place in places]
    assert sorted(set(lines)) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert lines == sorted(lines)


def test_what_an_unread_file_may_hold_is_not_called_missing() -> None:
    text = (
        "version: 1\nextends: [base.yaml]\n"
        "rules: [{id: a, needs: [b], recommend: {at_least: '${much}'}}]\n"
        "waivers: [{rule: c, reason: r, owner: o, until: 2027-01-31}]"
    )

    def read(name: str) -> bytes:
        return text.encode() if name == "r.yaml" else b"version: 1\nversion: 1\nrules: ["

    with pytest.raises(InputError) as fault:
        load_ruleset("r.yaml", read, CATALOGUE)
    assert [str(p).split(":")[0] for p in fault.value.problems] == ["base.yaml"]


@pytest.mark.parametrize("ring", [1, 2, 3, 500])
def test_rules_that_need_themselves(ring: int) -> None:
    text = "version: 1\nrules:\n" + "".join(
        f"  - {{id: r{n}, needs: [r{(n + 1) % ring}],"
        " title: R, fact: host.os, require: {exists: true}}\n"
        for n in range(ring)
    )
    (found,) = problems(text)
    assert f"a rule can't need itself: r0 → r{1 % ring}" in found
    assert len(found) < 400


def test_files_that_extend_themselves_over_others() -> None:
    files = {
        "./dir/a.yaml": b"version: 1\nextends: [../b.yaml]",
        "b.yaml": b"version: 1\nextends: [c.yaml]",
        "c.yaml": b"version: 1\nextends: [dir/a.yaml]",
    }
    with pytest.raises(InputError) as fault:
        load_ruleset("./dir/a.yaml", files.__getitem__, CATALOGUE)
    assert [str(p) for p in fault.value.problems] == [
        "c.yaml:2:11: a file can't extend itself: ./dir/a.yaml → b.yaml → c.yaml → dir/a.yaml"
    ]


def test_a_long_chain_of_files_ends_and_a_wide_one_is_read_once() -> None:
    with pytest.raises(InputError, match="more than 50 files"):
        load_ruleset("0", lambda n: f"version: 1\nextends: ['{int(n) + 1}']".encode(), CATALOGUE)
    reads: list[str] = []

    def twice(name: str) -> bytes:
        reads.append(name)
        level = int(name)
        base = f"extends: ['{level + 1}', './{level + 1}']" if level < 40 else ""
        return f"version: 1\n{base}".encode()

    load_ruleset("0", twice, CATALOGUE)
    assert len(reads) == 41


def test_more_problems_than_anyone_reads_are_not_looked_for() -> None:
    text = "version: 1\nrules:\n" + "".join(
        f"  - {{id: r{n}, title: T, fact: host.memory.totl, needs: [x{n}],"
        " require: {at_least: 1}}\n"
        for n in range(3000)
    )
    found = problems(text)
    assert len(found) == 101
    assert found[-1] == "… and more problems"


def test_what_is_quoted_of_a_file_is_short() -> None:
    (found,) = problems("version: " + "x" * 100_000)
    assert found == f"r.yaml:1:10: expected 1, found '{'x' * 280}…"


def test_what_has_no_place_names_none() -> None:
    with pytest.raises(InputError) as fault:
        loaded(b"#" * (16 * 2**20 + 1))
    assert fault.value.problems == (Problem("r.yaml", 0, 0, "the file is larger than 16 MiB"),)


def test_what_a_file_does_not_say_is_empty() -> None:
    assert loaded("version: 1\n") == RuleSet(
        name="r",
        origin="r.yaml",
        sha256=hashlib.sha256(b"version: 1\n").hexdigest(),
        source="",
        rules=(),
        documents={"r.yaml": ""},
    )


def test_the_facts_that_a_rule_names_are_those_to_ask_for() -> None:
    text = rule(
        "title: A\nfor_each: app\nfact: size\nwhen: {host.os: linux}\n"
        "require: {at_most: {fact: host.memory.total}}\nfixes: [{text: 'on {host.arch}'}]"
    )
    assert {".".join(path) for path in loaded(text).required_facts} >= {
        "app.*.size", "host.os", "host.memory.total", "host.arch",
    }  # fmt: skip


def test_set_names_a_var_of_the_file() -> None:
    text = judged("{at_least: '${much}'}") + "vars: {much: 1GB}"
    assert loaded(text, much="2GB").rules[0].require.tests[0][1] == 2_000_000_000
    assert problems(text, mich="2GB") == ["--set mich: unknown var, did you mean 'much'?"]
    assert problems(text, much="lots")[0].startswith("--set much=lots: 'lots' isn't a valid size")
    assert problems(text, much="${much}")[0].startswith("--set much=${much}: '${much}' isn't")
    assert problems("version: 1\nvars: {A: 1}", b="1")[0].startswith(
        "r.yaml:2:11: "
    )  # the file first


def test_a_dollar_is_doubled_to_stand_for_itself() -> None:
    text = rule(
        "title: A\nfact: host.os\nrequire: {equals: linux}\n"
        "fixes: [{text: 'run $${x} ${x} $x {{.Names}}'}]"
    )
    (fix,) = loaded(text + "vars: {x: y}").rules[0].fixes
    assert fix.text == "run ${x} y $x {{.Names}}"


# every field, given what it is not

RECORDS: list[tuple[str, str]] = [
    (RULE_FILE_DEFINITION, "version: 1\n{}\n"),
    ("rule", "version: 1\nrules:\n  - id: a\n    title: A\n    fact: host.os\n    {}"),
    ("fix", rule("title: A\nfact: host.os\nrequire: {exists: true}\nfixes:\n  - {}")),
    ("model", "version: 1\nmodels:\n  - name: a\n    {}"),
    ("diagnosis", "version: 1\ndiagnoses:\n  - id: a\n    {}"),
    ("waiver", with_a("waivers:\n  - owner: o\n    {}")),
]
FIELDS = [
    pytest.param(name, text, id=f"{what}-{name}")
    for what, text in RECORDS
    for name in SCHEMA_BY_DEFINITION[what]["properties"]
    if name != "id"
]
WRONG = ["[[x]]", "{x: {y: z}}", "!foo x", "5", "true", "''"]
RIGHT = [
    ("memory", "5"),
    ("enabled", "true"),
    ("document", "true"),
    ("report", "true"),
    ("times", "5"),
    ("within", "5"),
]


def with_field(text: str, name: str, value: str) -> str:
    """The text with this field, which stands nowhere else in the same record."""
    start = text[: text.index("{}")].rfind("- ")
    head, record = (text[:start], text[start:]) if start > 0 else ("", text)
    kept = [line for line in record.splitlines() if not line.strip("- ").startswith(f"{name}:")]
    if not kept[0].lstrip().startswith("-") and start > 0:
        kept[0] = "-" + kept[0][1:]
    return (head + "\n".join(kept)).replace("{}", f"{name}: {value}")


@pytest.mark.parametrize(("name", "text"), FIELDS)
@pytest.mark.parametrize("value", WRONG)
def test_a_field_refuses_what_it_is_not_in_its_place(name: str, text: str, value: str) -> None:
    written = with_field(text, name, value)
    lines = written.splitlines()
    row = 1 + next(n for n, line in enumerate(lines) if line.endswith(f"{name}: {value}"))
    try:
        loaded(written)
        found = []
    except InputError as fault:
        found = [str(p) for p in fault.problems if str(p).startswith(f"r.yaml:{row}:")]
    said = [one for one in found if re.search("expected|unknown|isn't", one)]
    assert (not said) is ((name, value) in RIGHT), found


@pytest.mark.parametrize(("name", "text"), FIELDS)
def test_null_is_as_if_the_key_were_not_there(name: str, text: str) -> None:
    def said(value: str) -> list[str]:
        try:
            loaded(with_field(text, name, value))
        except InputError as fault:
            return [str(p) for p in fault.problems]
        return []

    assert said("null") == said("~")
    assert not any("expected" in one for one in said("null"))


# what would exhaust the machine

BOMB = "version: 1\nname: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
CHAIN = (
    "version: 1\nrules:\n"
    + "".join(
        f"  - {{id: r{n}, title: T, fact: host.os, require: &c{n} "
        f"{{not: {f'*c{n - 1}' if n else '{equals: x}'}}}}}\n"
        for n in range(300)
    )
    + "next: "
    + "padding\n"
)


def test_aliases_that_explode_are_refused() -> None:
    (problem,) = problems(BOMB)
    assert problem.endswith(f": more than {MAX_YAML_NODES} values (aliases expanded)")


def test_aliases_that_save_typing_are_read() -> None:
    text = (
        "version: 1\nrules:\n"
        "  - {id: a, title: A, fact: host.memory.total, require: &r {at_least: 8GB}}\n"
        "  - {id: b, title: B, fact: docker.memory.total, require: *r}\n"
    )
    a, b = loaded(text).rules
    assert a.require == b.require


MANY = 10_001
LARGE = {
    "one_of": judged(f"{{one_of: [{', '.join(['1GB'] * MANY)}]}}"),
    "vars": "version: 1\nvars: {" + ", ".join(f"v{n}: 1" for n in range(MANY)) + "}",
    "models": "version: 1\nmodels:\n"
    + "".join(f"- {{name: m{n}, memory: 1GB}}\n" for n in range(MANY)),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_list_or_mapping_has_a_most_number_of_entries(name: str) -> None:
    (problem,) = problems(LARGE[name])
    assert problem.endswith(": more than 10,000 entries")


def test_all_files_together_have_a_most_number_of_entries_and_files() -> None:
    many = "version: 1\nmodels:\n" + "".join(
        f"- {{name: m%s-{n}, memory: 1GB}}\n" for n in range(MANY // 2)
    )
    files = {name: many.replace("%s", name) for name in "abc"}
    files["r"] = "version: 1\nextends: [a, b, c]\n"
    with pytest.raises(InputError, match="more than 10,000 entries"):
        load_ruleset("r", lambda name: files[name].encode(), CATALOGUE)
    names = ", ".join(f"f{n}" for n in range(51))
    with pytest.raises(InputError, match="more than 50 files"):
        load_ruleset(
            "r",
            lambda n: f"version: 1\n{f'extends: [{names}]' if n == 'r' else ''}".encode(),
            CATALOGUE,
        )


def test_there_is_a_most_number_of_patterns() -> None:
    patterns = ", ".join(f"'a{n}'" for n in range(5001))
    (problem,) = problems(f"version: 1\ndiagnoses: [{{id: x, title: X, patterns: [{patterns}]}}]")
    assert problem.endswith(": more than 5,000 patterns")


DEEP = {
    "flow lists": "'[' * 60000",
    "flow mappings": "'{a: ' * 60000",
    "block lists": "'- ' * 60000",
    "block mappings": "''.join(' ' * n + 'a:\\n' for n in range(3000))",
    "keys": "'? ' * 60000",
    "within a rule": "'version: 1\\nrules: [{id: a, when: ' + '{a: ' * 60000",
    "conditions": "'version: 1\\nrules: [{id: a, title: A, fact: host.os, require: '"
    " + '{not: ' * 5000 + '{exists: true}' + '}' * 5001 + ']'",
    "patterns": "'version: 1\\ndiagnoses: [{id: a, title: A, patterns: [\\'' + '(' * 60000"
    " + ')' * 60000 + '\\']}]'",
    "anchors": "'version: &a ' * 1 + '1\\nnext: ' + '&b ' * 60000",
    "quotes": "'version: \"' + '\\\\' * 60000",
    "digits": "'version: 1\\nmodels: [{name: x, memory: ' + '9' * 60000 + '}]'",
}
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
PLAIN_PYTHON = "import sys; sys.modules['yaml.cyaml'] = None\n"  # as without libyaml


@pytest.mark.parametrize("without_c", [False, True])
def test_no_nesting_crashes_the_interpreter(without_c: bool) -> None:
    code = (
        f"{PLAIN_PYTHON if without_c else ''}"
        "from preflight import check as pipeline\n"
        "from preflight.model.problems import InputError\n"
        f"for text in ({', '.join(DEEP.values())}):\n"
        "    try: pipeline.load_ruleset('r.yaml', lambda _: text.encode())\n"
        "    except InputError as fault: print(repr(str(fault)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    messages = done.stdout.splitlines()
    assert len(messages) == len(DEEP)
    assert all("r.yaml:" in message[:9] and len(message) < 2000 for message in messages)


def test_without_libyaml_the_same_is_read() -> None:
    code = (
        "import sys\n"
        f"{PLAIN_PYTHON}"
        "from preflight import check as pipeline\n"
        "from preflight.cli.streams import read_rule_file\n"
        "rules = pipeline.load_ruleset('default', read_rule_file)\n"
        "print(repr(rules._replace(required_facts=None)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    with_c = pipeline.load_ruleset(DEFAULT_RULE_SET, read_rule_file)._replace(
        required_facts=None  # type: ignore[arg-type]
    )
    assert done.returncode == 0, done.stderr.decode()
    assert ADDRESS.sub("", done.stdout.decode().strip()) == ADDRESS.sub("", repr(with_c))


# what is large and right


def test_ten_thousand_rules_and_a_chain_of_needs_through_all() -> None:
    from preflight.evaluate.judge import judge_rules
    from preflight.model.facts import Facts

    text = "version: 1\nrules:\n" + "".join(
        f"  - {{id: r{n}, needs: [r{n + 1}],"
        " title: R, fact: host.os, require: {equals: linux}}\n"
        for n in range(9_999)
    )
    text += "  - {id: r9999, title: R, fact: host.os, require: {equals: plan9}}\n"
    rules = loaded(text)
    assert len(rules.rules) == 10_000
    report = judge_rules(rules, Facts({"host": {"os": "linux"}}), CATALOGUE)
    assert report.counts_by_verdict["fail"] == 1
    assert report.counts_by_verdict["skip"] == 9_999
    assert {result.blocked_by for result in report.results} == {None, "r9999"}


SPELLINGS = ["8GB", "'8GB'", '"8GB"', "|-\n      8GB", ">-\n      8GB"]


@pytest.mark.parametrize(("one", "other"), list(itertools.pairwise(SPELLINGS)))
def test_how_yaml_is_spelled_makes_no_difference(one: str, other: str) -> None:
    def text(value: str) -> str:
        return f"version: 1\nvars:\n  x: {value}\n" + judged("{at_least: '${x}'}")[11:]

    (a,), (b,) = loaded(text(one)).rules, loaded(text(other)).rules
    assert a._replace(line=b.line) == b


def test_yaml_is_read_as_version_1_2() -> None:
    """`no` and `on` are words, `0o17` and `.5` numbers: as editors with the schema see them."""
    text = judged("{one_of: [no, on, yes]}", "host.os")
    assert loaded(text).rules[0].require.tests[0][1] == ("no", "on", "yes")
    assert yaml.safe_load("[no]") == [False]  # unlike YAML 1.1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\nrules:\n\t- id: a\n", "3:1"),
        ("version: 1\nrules:\n  - id: a\n\t  title: x\n", "4:1"),
        ("version: 1\nrules:\n  - id:\n    \ttitle: x\n", "4:5"),
    ],
)
def test_a_tab_in_the_indentation_is_said_in_words(text: str, place: str) -> None:
    assert problems(text) == [
        f"r.yaml:{place}: the indentation contains a tab: YAML allows only spaces"
    ]


def test_a_rule_of_a_bundled_set_names_the_set_to_extend() -> None:
    def read(name: str) -> bytes:
        return rules_file.encode() if name == "r.yaml" else read_rule_file(name)

    keys = "title: A\nfact: host.os\nrequire: {exists: true}\nneeds: [docker-reachable]"
    rules_file = rule(keys)
    with pytest.raises(InputError) as fault:
        load_ruleset("r.yaml", read, CATALOGUE)
    assert str(fault.value) == (
        "r.yaml:7:13: unknown rule 'docker-reachable': it is in a bundled set,"
        f" which 'extends: [{next(iter(BUNDLED_FILE_BY_SET))}]' adds"
    )


NO_UNIT = "'10' has no unit: write 10GB, 10GiB, or 10B"


@pytest.mark.parametrize(
    "keys",
    [
        "require: {at_least: 10}",
        "require: {one_of: [8GB, '10']}",
        "require: {at_most: {fact: host.memory.total, plus: 10}}",
        "require: {at_least: 8GB}\nwhen: {docker.memory.total: 10}",
        "require: {at_least: '${much}'}",
    ],
)
def test_a_small_size_without_a_unit_is_a_problem(keys: str) -> None:
    text = rule(f"title: A\nfact: host.memory.total\n{keys}") + "vars: {much: 10}\n"
    (problem,) = problems(text)
    assert problem.endswith(f": {NO_UNIT}")


def test_the_memory_of_a_model_needs_a_unit() -> None:
    text = "version: 1\nmodels:\n  - {name: m, memory: 10}\n"
    assert problems(text) == [f"r.yaml:3:23: {NO_UNIT}"]


@pytest.mark.parametrize("size", ["0", "1000000", "10B", "10GiB", "-1000000"])
def test_these_are_sizes(size: str) -> None:
    assert loaded(judged(f"{{at_least: {size}}}")).rules


@pytest.mark.parametrize("value", ["10", "8G"])
def test_a_size_of_set_needs_a_unit(value: str) -> None:
    text = judged("{at_least: 1GB}") + "vars: {system_overhead: 2GB, count: 3}\n"
    (problem,) = problems(text, system_overhead=value)
    assert problem.startswith(f"--set system_overhead={value}: {value!r} ")
    assert loaded(text, system_overhead="3GB", count="4").vars["system_overhead"] == "3GB"
