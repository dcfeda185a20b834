"""There and back: bundles, redaction. What is taken out stays out, and changes no verdict."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bundled_rules import bundled_rules
from paths import ROOT
from preflight import check as pipeline
from preflight.cli.redacting import build_redactor, redact_facts_keeping_verdicts
from preflight.model.facts import Facts, Measured, replace_facts
from preflight.model.rules import RuleSet
from preflight.snapshot.bundle import BundleMember, build_bundle, read_bundle
from preflight.snapshot.facts_file import format_snapshot, read_snapshot

CASES = sorted((ROOT / "tests/cases").iterdir())
SECRETS = (
    "ghp_" + "a1B2c3D4e5" * 4,
    "AKIAIOSFODNN7EXAMPLE",
    "Pl4nt-Ed9_Geheim",
    "x:hunter2!9@db.internal",
)
SAYINGS = (
    "{}", "password={}", "token: {}", "https://joe:{}@db.example/x", "Authorization: Bearer {}",
    "cannot reach {} as joe@customer.example", '{{"api_key": "{}"}}', "/home/{}/.ssh", "--token {}",
)  # fmt: skip

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
members = st.dictionaries(names.map("logs/{}.log".format), st.binary(max_size=300), max_size=4)


@cache
def rules() -> RuleSet:
    return bundled_rules()


@cache
def case(folder: Path) -> Facts:
    return read_snapshot((folder / "facts.json").read_bytes(), "facts.json")


# --- bundles --------------------------------------------------------------------------------------


@given(st.sampled_from(CASES), members)
def test_what_is_put_in_a_bundle_comes_out_by_us_and_by_others(
    folder: Path, logs: dict[str, bytes]
) -> None:
    logs = {name: logs[name] for name in {name.lower(): name for name in logs}.values()}
    facts = (folder / "facts.json").read_bytes()
    parts = [
        BundleMember("facts.json", "facts", facts),
        *(BundleMember(n, "a log", d) for n, d in logs.items()),
    ]
    made = build_bundle(parts, "1.0.0", "2026-11-23T11:00:00Z", {}, ())
    assert made == build_bundle(parts, "1.0.0", "2026-11-23T11:00:00Z", {}, ())
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name) for name in archive.namelist()}
    del read["manifest.json"]
    assert read == {"facts.json": facts, **logs}
    read = read_bundle(made, "ticket.zip")
    assert {name: data for name, data in read.items() if name.startswith("logs/")} == logs
    assert read_snapshot(made, "ticket.zip") == case(folder)


# --- redaction ------------------------------------------------------------------------------------


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(node, dict) or not node:
        return [path]
    return [leaf for key, one in node.items() for leaf in leaves(one, (*path, key))]


@st.composite
def told(draw: st.DrawFn) -> Facts:
    """Draw a snapshot of a case, with secrets in some of its texts, sources and variables."""
    facts = case(draw(st.sampled_from(CASES)))
    said = st.builds(lambda saying, secret: saying.format(secret), st.sampled_from(SAYINGS),
                     st.sampled_from(SECRETS))  # fmt: skip
    paths = leaves(facts.values)
    places = draw(st.lists(st.sampled_from(paths), max_size=4))
    changed = [Measured(path, draw(said), draw(said)) for path in places]
    named = draw(st.sets(st.sampled_from(["DB_PASSWORD", "API_KEY", "HOST_URL", "MODE"])))
    changed += [Measured(("env", name), draw(said), "the environment") for name in sorted(named)]
    return replace_facts(facts, changed)


def verdicts(facts: Facts) -> dict[tuple[str, str | None], str]:
    selection = pipeline.make_rule_selection(rules(), (), (), strict=False)
    results = pipeline.check(rules(), facts, selection, 0).results
    return {(one.id, one.item): one.verdict for one in results}


@given(told())
def test_a_redacted_snapshot_holds_no_secret_keeps_its_verdicts_and_stays_as_it_is(
    facts: Facts,
) -> None:
    redactor = build_redactor(rules(), facts)
    clean, undecided = redact_facts_keeping_verdicts(redactor, rules(), facts)
    text = format_snapshot(clean)
    assert not [secret for secret in SECRETS[:2] if secret in text]
    assert redactor.find_remaining_secrets("facts.json", text.encode()) == []
    was, now = verdicts(facts), verdicts(clean)
    for key, verdict in was.items():
        kept = now[key] == verdict
        assert kept or (key[0] in undecided and now[key] in ("unknown", "skip")), key
    again, _ = redact_facts_keeping_verdicts(build_redactor(rules(), clean), rules(), clean)
    assert json.loads(format_snapshot(again)) == json.loads(text)


@given(
    st.lists(st.builds(str.format, st.sampled_from(SAYINGS), st.sampled_from(SECRETS)), max_size=5)
)
def test_a_redacted_log_is_redacted_no_further(lines: list[str]) -> None:
    redactor = build_redactor(rules(), case(CASES[0]))
    once = redactor.redact_text(redactor.redact_text("\n".join(lines)))
    assert redactor.redact_text(once) == once
