"""The readers of outside data, each from the bytes to the output that a user sees.

Any input must end in such an output or in a readable error; everything else is a fault.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from paths import TESTS
from preflight import check as pipeline
from preflight.cli.diagnose import build_log_report
from preflight.cli.diff import read_comparison_input
from preflight.cli.listings import explain_rule
from preflight.cli.redacting import build_redactor, redact_facts_keeping_verdicts
from preflight.cli.rules import find_rule_problems_and_remarks, judge_case
from preflight.cli.streams import read_rule_file
from preflight.evaluate.models import list_models_by_fit
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.compose_facts import measure_compose_facts as measure_project
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError
from preflight.facts.start_blockers import find_port_clashes_within_project
from preflight.logs import log_searcher
from preflight.logs.candidate_matcher import build_matcher
from preflight.logs.log_searcher import LogSearcher
from preflight.model.facts import Facts, Measured, build_facts, split_fact_path
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.model.rules import DEFAULT_RULE_SET, GENERAL_RULE_SET, KNOWN_ERRORS_SET, RuleSet
from preflight.render import FORMATS, RenderOptions, diagnosis, diff, listings, load_renderer
from preflight.snapshot import bundle
from preflight.snapshot import cases as case_files
from preflight.snapshot.bundle import BundleMember
from preflight.snapshot.compare import compare_snapshots_or_reports
from preflight.snapshot.facts_file import format_snapshot, read_snapshot

ROOT = TESTS.parent
MAX_ERROR_CHARACTERS = 1000  # of one line


class Reader(NamedTuple):
    """One kind of input. `kind` is its syntax: json, yaml, zip or text; `seeds` are valid inputs.

    `read` raises InputError for an input that it refuses; `words` may be inserted anywhere.
    """

    name: str
    kind: str
    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: Callable[[], list[bytes]]


def is_read(reader: Reader, data: bytes) -> bool:
    """Return whether an input is accepted; raise AssertionError if the error isn't readable.

    Any other exception is a fault of the program.
    """
    try:
        reader.read(data)
    except InputError as fault:
        lines = [str(problem) for problem in fault.problems]
    else:
        return True
    assert lines, "an error without a message"
    for line in lines:
        assert line.strip(), "an error with an empty line"
        assert "\n" not in line, f"an error of several lines: {line[:200]!r}"
        assert len(line) <= MAX_ERROR_CHARACTERS, f"an error that is too long: {line[:200]!r}"
    return False


# --- judging and rendering ------------------------------------------------------------------------


@cache
def golden_rules() -> RuleSet:
    """Return a small rule set that gives every verdict."""
    return pipeline.load_ruleset("rules.yaml", lambda _: (TESTS / "golden/rules.yaml").read_bytes())


@cache
def bundled_rules() -> RuleSet:
    """Return the bundled rules."""
    return pipeline.load_ruleset(DEFAULT_RULE_SET, read_rule_file, known_errors=True)


@cache
def golden_facts() -> Facts:
    """Return the facts of the golden report."""
    return read_snapshot((TESTS / "golden/facts.json").read_bytes(), "facts.json")


@cache
def stack_facts() -> Facts:
    """Return the facts of a machine with a whole stack."""
    file = TESTS / "cases/document-stack-on-desktop/facts.json"
    return read_snapshot(file.read_bytes(), "facts.json")


def judge_and_render(rules: RuleSet, facts: Facts, data: bytes) -> None:
    """Judge, and render the report as JSON and in another format, chosen by the input."""
    selection = pipeline.make_rule_selection(rules, (), (), strict=False)
    report = pipeline.check(rules, facts, selection, time.perf_counter())
    assert report.exit_code in (ExitCode.OK, ExitCode.FAILED, ExitCode.UNDECIDED)
    as_json = json.loads(load_renderer("json")(report, RenderOptions()))
    assert as_json["summary"]["exit_code"] == report.exit_code
    assert len(as_json["results"]) == len(report.results)
    name = _choose_by(list(FORMATS), data)
    assert load_renderer(name)(report, RenderOptions(verbose=True)).encode("utf-8", "replace")


def _choose_by(options: list[Any], data: bytes) -> Any:
    """Choose an option by the bytes: the same ones give the same choice."""
    return options[zlib.crc32(data) % len(options)]


# --- rules ----------------------------------------------------------------------------------------


def read_rules(data: bytes) -> None:
    """`check --rules`, `rules validate`, `rules list`, `diagnose --rules`."""

    def read_file(name: str) -> bytes:
        if name == "rules.yaml":
            return data
        if name == DEFAULT_RULE_SET:
            return (TESTS / "golden/rules.yaml").read_bytes()
        if name == KNOWN_ERRORS_SET:
            return read_rule_file(name)
        raise FileNotFoundError(2, "No such file or directory", name)

    rules = pipeline.load_ruleset("rules.yaml", read_file)
    facts = pipeline.add_derived_facts(stack_facts(), rules)
    judge_and_render(rules, facts, data)
    find_rule_problems_and_remarks(rules, facts)
    listings.render_rules(rules, RenderOptions())
    for rule in rules.rules[:3]:
        listings.render_explanation(explain_rule(rules, facts, rule), RenderOptions())
    _diagnose(rules, b"\n".join(log_lines()[:8]), facts)


def rule_seeds() -> list[bytes]:
    """Return each bundled rule and diagnosis as a file of its own, which is read fast."""
    import yaml

    document = yaml.safe_load(read_rule_file(DEFAULT_RULE_SET))
    general = yaml.safe_load(read_rule_file(GENERAL_RULE_SET))
    head = {"version": 1, "vars": document.get("vars", {})}
    documents = [
        {**head, key: [{**entry, **({"needs": []} if "needs" in entry else {})}]}
        for key, entries in (
            ("rules", general["rules"]),
            ("rules", [rule for rule in document["rules"] if "title" in rule]),
            ("diagnoses", document["diagnoses"]),
        )
        for entry in entries
    ]
    documents.append({**head, "models": document["models"]})
    files = (TESTS / "golden/rules.yaml", TESTS / "cases/environment/rules.yaml")
    extending = b"version: 1\nextends: [default]\nrules:\n- {id: host-memory, title: RAM}\n"
    single = [yaml.safe_dump(document, sort_keys=False).encode() for document in documents]
    return [*(file.read_bytes() for file in files), extending, *single]


def rule_words() -> list[bytes]:
    """The keys, operators and facts of the language, and what is hard in YAML and in patterns."""
    from preflight.model.conditions import OPERATORS
    from preflight.rules.schema_decoding import SCHEMA_BY_DEFINITION

    keys = {key for one in SCHEMA_BY_DEFINITION.values() for key in one.get("properties", ())}
    plain = ["{fact: docker.cpus, times: 2, plus: 1}", "{sum: [1, {fact: docker.cpus}]}", "${low}"]
    patterns = ["(a+)+$", "(?P<required>[^)]+)", "(?i)x{1,999}", "[[:alpha:]]", "(?:a|a?)*", r"\b"]
    names = [*keys, *OPERATORS, *pipeline.build_catalogue().names()]
    return [one.encode() for one in (*names, *plain, *patterns)] + YAML_WORDS


YAML_WORDS = [
    b"&a ", b"*a", b"<<: *a", b"!!str ", b"!!binary ", b"!x ", b"|", b">-", b"? ", b"- ", b"---\n",
    b"...", b"%YAML 1.1\n---\n", b"{", b"}", b"[", b"]", b"'", b'"', b"# ", b": ", b"\t", b"~",
    b"null", b"yes", b"0x1f", b"0o17", b".inf", b".nan", b"1e400", b"2026-11-23", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xc2\x85", b"\xe2\x80\xa8", b"\\ud800", b"${", b"${A:-${B:?c}}", b"$$",
]  # fmt: skip


# --- facts ----------------------------------------------------------------------------------------


def read_facts(data: bytes) -> None:
    """`check --facts`, and one of the other commands that take a snapshot."""
    rules = bundled_rules() if len(data) % 4 == 0 else golden_rules()
    facts = pipeline.add_derived_facts(read_snapshot(data, "facts.json"), rules)
    judge_and_render(rules, facts, data)
    _choose_by(COMMANDS, data)(facts)


def _list_models(facts: Facts) -> None:
    models = list_models_by_fit(bundled_rules().models, facts)
    assert json.dumps(listings.models_as_json(models))
    assert listings.render_models(models, RenderOptions())


def _list_facts(facts: Facts) -> None:
    listings.render_facts(facts, pipeline.build_catalogue(), RenderOptions())
    again = read_snapshot(format_snapshot(facts).encode(), "again.json")
    assert again == facts


def _diagnose_states(facts: Facts) -> None:
    _diagnose(bundled_rules(), b"", facts)


def _redact(facts: Facts) -> None:
    rules = golden_rules()
    redactor = build_redactor(rules, facts)
    clean, _ = redact_facts_keeping_verdicts(redactor, rules, facts)
    snapshot = format_snapshot(clean)
    redactor.find_remaining_secrets("facts.json", snapshot.encode())


def _compare_with_golden(facts: Facts) -> None:
    sides = (_read_side(format_snapshot(facts).encode()), _read_side(_read_golden("facts.json")))
    for before, after in (sides, sides[::-1]):
        difference = compare_snapshots_or_reports(before, after)
        assert json.dumps(diff.diff_as_json(difference))
        diff.render_diff_text(difference, pipeline.build_catalogue(), ("a", "b"), RenderOptions())


COMMANDS: list[Callable[[Facts], None]] = [
    _list_models, _list_facts, _diagnose_states, _redact, _compare_with_golden,
]  # fmt: skip


def _read_side(data: bytes) -> Any:
    return read_comparison_input(data, "side.json", golden_rules)


def _read_golden(name: str) -> bytes:
    return (TESTS / "golden" / name).read_bytes()


def facts_seeds() -> list[bytes]:
    """Return the snapshots of all cases, and one with every fact."""
    files = sorted((TESTS / "cases").glob("*/facts.json"))
    return [
        snapshot_of_every_fact(),
        _read_golden("facts.json"),
        *(file.read_bytes() for file in files),
    ]


_SAMPLES: Mapping[str, Any] = {
    "bytes": 8 * 10**9, "seconds": 3.5, "cores": 2, "number": 3, "version": "24.0.1",
    "text": "ollama", "boolean": True, "list": ["a", "b"], "map": {},
}  # fmt: skip


def snapshot_of_every_fact() -> bytes:
    """Return a snapshot of each declared fact; an item of a list or map is called `ollama`."""
    measured = []
    for fact in pipeline.build_catalogue().facts:
        path = tuple(
            "ollama" if segment == "*" else segment for segment in split_fact_path(fact.path)
        )
        measured.append(Measured(path, _SAMPLES[fact.unit], "in compose.yaml:3"))
    parents = {fact.path[:end] for fact in measured for end in range(1, len(fact.path))}
    leaves = (fact for fact in measured if fact.path not in parents)
    facts = build_facts(leaves, measured_at="2026-11-23T11:00:00Z", version="1.0.0")
    return format_snapshot(facts).encode()


def facts_words() -> list[bytes]:
    """Return the segments of fact names in JSON."""
    names = {part for name in pipeline.build_catalogue().names() for part in name.split(".")}
    return [json.dumps(name).encode() for name in sorted(names)] + JSON_WORDS


JSON_WORDS = [
    b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0", b"1e30", b"9" * 40, b'"\\ud800"',
    b'"\\u0000"', b'"\\u202e"', b"{}", b"[]", b'""', b'"8GB"', b'"preflight.facts/0"',
    b'"preflight.facts/2"', b'"<password-1>"', b'"in a:1"', b'"a.b"', b'"\\""', b'"*"', b"[" * 60,
]  # fmt: skip


# --- reports, expected verdicts -------------------------------------------------------------------


def read_report(data: bytes) -> None:
    """`diff`, of a report and of a snapshot."""
    side = _read_side(data)
    for other in (_read_side(_read_golden("report.json")), _read_side(_read_golden("facts.json"))):
        difference = compare_snapshots_or_reports(side, other)
        assert json.dumps(diff.diff_as_json(difference))
        diff.render_diff_text(difference, pipeline.build_catalogue(), ("a", "b"), RenderOptions())


def report_seeds() -> list[bytes]:
    """Return the golden report, whole and with each single result."""
    whole = json.loads(_read_golden("report.json"))
    single = [{**whole, "results": [result]} for result in whole["results"]]
    return [_read_golden("report.json"), *(json.dumps(report).encode() for report in single)]


def parse_case_expectations(data: bytes) -> None:
    """`rules test`."""
    expected = case_files.parse_case_expectations(data, "expected.json")
    judge_case(golden_rules(), golden_facts(), expected, (), exact=bool(len(data) % 2))


def expected_seeds() -> list[bytes]:
    """Return expected verdicts in the short and the long form."""
    verdicts = {"host-memory": "fail", "cpu-limit": "pass", "cpu-limit/api": "fail"}
    long = {"verdicts": verdicts, "exit_code": 1, "today": "2026-11-23", "strict": True,
            "vars": {"system_overhead": "1GB"}, "only": ["host"]}  # fmt: skip
    return [json.dumps(document).encode() for document in (verdicts, long)]


# --- compose --------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    """Return a folder in memory with the files that the compose files name."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="pf-fuzz-", dir=memory if memory.is_dir() else None))
    (folder / "base.yaml").write_text("services:\n  base: {image: a, environment: {A: b}}\n")
    (folder / "some.env").write_text("A=1\nB=${A:-2}\n")
    return folder


def read_compose(data: bytes) -> None:
    """`check --compose-file` without Compose, which uses the stand-in reader."""
    _judge_project({"compose.yaml": data, ".env": b"TAG=1\nCOMPOSE_PROFILES=debug\n"}, data)


def read_override(data: bytes) -> None:
    """The same for a file that overrides another one."""
    base = (
        b"services: {api: {image: a, ports: ['80:80'], deploy: {resources: {}}}, web: {image: b}}"
    )
    _judge_project({"compose.yaml": base, "over.yaml": data, ".env": b""}, data)


def read_dotenv(data: bytes) -> None:
    """The `.env` of a project, which is an env_file too."""
    file = b"services: {a: {image: 'x:${TAG:-1}', env_file: [.env], environment: [B]}}"
    _judge_project({"compose.yaml": file, ".env": data}, data)


def _judge_project(files: Mapping[str, bytes], data: bytes) -> None:
    folder = _folder()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    compose_files = tuple(str(folder / name) for name in files if name.endswith(".yaml"))
    environ = {"HOME": "/home/someone", "A": "$$", "PATH": "", "DOCKER_CONFIG": "/nowhere"}
    try:
        project = load_project(MeasurementOptions(compose_files=compose_files), environ)
    except ComposeError as fault:
        raise InputError(str(fault)) from None
    assert project is not None
    assert json.dumps(project.config)
    find_port_clashes_within_project(project)
    facts = build_facts(
        measure_project(None, project), measured_at="2026-11-23T11:00:00Z", version="1"
    )
    rules = bundled_rules() if len(data) % 8 == 0 else golden_rules()
    judge_and_render(rules, pipeline.add_derived_facts(facts, rules), data)


def compose_seeds() -> list[bytes]:
    """Return the compose files of the tests that compare with the real Compose."""
    own = TESTS / "unit/facts/compose/cases"
    files = [file for suffix in ("yaml", "yml") for file in sorted(own.rglob(f"*.{suffix}"))]
    extending = (
        b"services:\n  a:\n    extends: {file: base.yaml, service: base}\n    env_file: some.env\n"
    )
    return [extending, *(file.read_bytes() for file in files)]


def compose_words() -> list[bytes]:
    """Return keys of the Compose file and values of every kind."""
    values = ["1g", "0.5", "80:80/udp", "[::1]:80-90:80", "./a:/b:ro", "service:a", "all",
              "!reset ", "!override ", "${TAG:?no}", "base.yaml", "some.env", "-1"]  # fmt: skip
    keys = [
        "services",
        "include",
        "configs",
        "secrets",
        "image",
        "build",
        "ports",
        "volumes",
        "environment",
        "env_file",
        "extends",
        "depends_on",
        "deploy",
        "gpus",
        "scale",
        "mem_limit",
        "logging",
        "profiles",
        "networks",
        "memory",
        "cpus",
        "limits",
        "reservations",
        "resources",
        "replicas",
        "path",
        "required",
    ]
    return [word.encode() for word in (*keys, *values)] + YAML_WORDS


def dotenv_seeds() -> list[bytes]:
    """Return the env files of the tests that compare with the real Compose."""
    files = sorted((TESTS / "unit/facts/compose/cases").rglob("*.env"))
    files += sorted((TESTS / "unit/facts/compose/cases").rglob(".env"))
    plain = b"TAG=1\nexport B='x y' # z\nC=\"${TAG}\\n$B\"\nD: ${E:-${TAG:?gone}}\nF\n"
    return [plain, *(file.read_bytes() for file in files)]


def dotenv_words() -> list[bytes]:
    """Return what has a meaning in env files."""
    marks = ["export ", "=", "#", " #", "'", '"', "\\", "\\x", "\\0777", "${", "}", ":-", ":?",
             "$$", "\r\n", "\0", "\u00a0", "\x85", "A=", ":", "[0]", "é"]  # fmt: skip
    return [mark.encode() for mark in marks]


# --- logs and bundles -----------------------------------------------------------------------------


def read_log(data: bytes) -> None:
    """`diagnose`, mostly with an eighth of the known errors, which is faster than with all."""
    whole = bundled_rules()
    few = whole.diagnoses[len(data) % 8 :: 8] if len(data) % 16 else whole.diagnoses
    _diagnose(whole._replace(diagnoses=few), data, stack_facts())


build_matcher_once = lru_cache(build_matcher)  # nine choices of patterns for all logs


def _diagnose(rules: RuleSet, data: bytes, facts: Facts) -> None:
    with mock.patch.object(log_searcher, "build_matcher", build_matcher_once):
        reader = LogSearcher(rules.diagnoses)
    reader.add_log("api.log", io.BytesIO(data))
    report = build_log_report(rules, reader, facts)
    assert json.dumps(diagnosis.diagnosis_as_json(report))
    text = diagnosis.render_log_report_text(report, 0.1, RenderOptions())
    assert text.encode("utf-8", "replace")


def log_lines() -> list[bytes]:
    """Return the sample lines of every known error."""
    from known_errors import HITS

    return [line.encode() for lines in HITS.values() for line in lines]


def log_seeds() -> list[bytes]:
    """Return lines of known errors: plain, wrapped in JSON, compressed, and in UTF-16."""
    import gzip

    lines = log_lines()
    plain = [b"\n".join(lines[at : at + 5]) + b"\n" for at in range(0, len(lines), 5)]
    wrapped = [json.dumps({"log": line.decode() + "\n", "stream": "stderr",
                           "time": "2026-11-23T11:00:00.5Z"}, separators=(",", ":")).encode()
               for line in lines[:5]]  # fmt: skip
    utf_16 = plain[0].decode().encode("utf-16")
    return [*plain, b"\n".join(wrapped), gzip.compress(plain[0], mtime=0), utf_16]


def log_words() -> list[bytes]:
    """Return what starts or wraps lines, and headers of compressed logs."""
    return [
        b"\n", b"\r\n", b"\0", b"\x1f\x8b\x08", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf",
        b"PK\x03\x04", b'{"log":"', b'","time":"', b'prompt="', b"2026-11-23T11:00:00Z ",
        b"Nov 23 11:00:00 ", b"[12345.678901] ", b"\x1b[31m", b"5.7 GiB", b"9" * 50,
        b"\xed\xa0\x80",
    ]  # fmt: skip


def read_bundle(data: bytes) -> None:
    """`check --facts` of a bundle, and `diagnose` of the logs in it."""
    for name, content in bundle.read_bundle(data, "ticket.zip").items():
        if name.startswith("logs/"):
            _diagnose(golden_rules(), content, stack_facts())
    facts = read_snapshot(data, "ticket.zip")
    judge_and_render(golden_rules(), pipeline.add_derived_facts(facts, golden_rules()), data)


def make_bundle(members: Mapping[str, bytes]) -> bytes:
    """Return a bundle of these members with the right manifest."""
    parts = [BundleMember(name, "", content) for name, content in members.items()]
    return bundle.build_bundle(parts, "1.0.0", "2026-11-23T11:00:00Z", {}, ())


def bundle_seeds() -> list[bytes]:
    """Return a bundle with every kind of member, and the smallest one."""
    log = b"\n".join(log_lines()[:3])
    members = {"facts.json": _read_golden("facts.json"), "report.json": _read_golden("report.json"),
               "logs/api.log": log}  # fmt: skip
    smallest = {"facts.json": _read_golden("facts.json"), "report.json": report_seeds()[1]}
    return [make_bundle(members), make_bundle(smallest)]


def zip_words() -> list[bytes]:
    """Return the signatures of a zip file, and wrong sizes."""
    return [
        b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08",
        b"\xff\xff\xff\xff", b"\xff\xff", b"\x00\x00\x00\x00", b"\x08\x00", b"\x0c\x00",
        b"\x63\x00", b"../", b"logs/", b"manifest.json", b"facts.json", b"/", b"\\",
    ]  # fmt: skip


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("rules", "yaml", read_rules, rule_seeds, rule_words),
        Reader("facts", "json", read_facts, facts_seeds, facts_words),
        Reader("compose", "yaml", read_compose, compose_seeds, compose_words),
        Reader("override", "yaml", read_override, compose_seeds, compose_words),
        Reader("dotenv", "text", read_dotenv, dotenv_seeds, dotenv_words),
        Reader("log", "text", read_log, log_seeds, log_words),
        Reader("bundle", "zip", read_bundle, bundle_seeds, zip_words),
        Reader("report", "json", read_report, report_seeds, lambda: JSON_WORDS),
        Reader("expected", "json", parse_case_expectations, expected_seeds, lambda: JSON_WORDS),
    )
}


def remove_files() -> None:
    """Remove the files that the readers wrote."""
    if _folder.cache_info().currsize:
        import shutil

        shutil.rmtree(_folder())
        _folder.cache_clear()


os.environ.setdefault("TERM", "dumb")
