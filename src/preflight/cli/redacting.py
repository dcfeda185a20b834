"""Redaction as commands use it: makes a redactor, says what was redacted, refuses leftovers."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli.streams import write_message
from preflight.model.facts import (
    Facts,
    Measured,
    Unknown,
    join_path,
    replace_facts,
    split_fact_path,
)
from preflight.model.problems import InputError
from preflight.model.rules import RuleSet
from preflight.model.secret_names import find_secret_kind_of_name

if TYPE_CHECKING:
    from preflight.snapshot.redact import Redactor

PRIVATE_FILE_MODE = 0o600
MAX_LISTED_REMAINING_SECRETS = 5  # shown in an error
_SECRET_PLACEHOLDER_PATTERN = re.compile(r"(?:<|&lt;)([a-z]+)-([1-9][0-9]*)(?:>|&gt;)")
_NAME_BY_SECRET_KIND = {
    "host": "host name",
    "user": "user name",
    "email": "e-mail address",
    "value": "environment value",
}


def build_redactor(
    ruleset: RuleSet, facts: Facts, hidden_variables: Sequence[tuple[str, str]] = ()
) -> Redactor:
    """Return a redactor that knows the secrets of this machine and of a stack."""
    from preflight.facts.table import OLLAMA_VARIABLES
    from preflight.snapshot import redacted_names
    from preflight.snapshot.redact import Redactor

    shown = OLLAMA_VARIABLES | {
        path[-1] for path in ruleset.required_facts if path[0] == "env" or "environment" in path
    }
    public = {
        *ruleset.collect_unredacted_words(),
        *(name for path in ruleset.required_facts for name in path),
        *_list_hosts_named_in_rules(ruleset),
        *(name for fact in pipeline.build_catalogue().names() for name in (fact, *fact.split("."))),
    }
    # a compose file can put any variable anywhere, such as into an image; but `postgres` stays
    variables = (*hidden_variables, *os.environ.items())
    secrets = {value for name, value in variables if find_secret_kind_of_name(name)}
    public |= {
        name
        for name in redacted_names.find_unredacted_names(facts)
        if name not in secrets or re.fullmatch("[a-z._-]+", name)
    }
    redactor = Redactor(shown, public)
    redacted_names.learn_names_and_environment_secrets(redactor, facts)
    for name, value in hidden_variables:
        redactor.learn_variable(name, value)
    redactor.reserve_placeholders(json.dumps([facts.values, facts.sources], ensure_ascii=False))
    return redactor


def _list_hosts_named_in_rules(ruleset: RuleSet) -> Iterator[str]:
    """Yield the hosts that rules ask for, as the names of their facts have them."""
    for path in ruleset.required_facts:
        if path[0] == "net" and path[2:]:
            yield from (join_path(path), path[2].rpartition(".")[0])


def redact_facts_keeping_verdicts(
    redactor: Redactor, ruleset: RuleSet, facts: Facts
) -> tuple[Facts, list[str]]:
    """Return facts without secrets that get the same verdicts, and the rules where they can't.

    The fact that such a rule asks for becomes unknown: it is undecided, never another verdict.
    """
    clean = redactor.redact_facts(redactor.redact_facts(facts))  # knows all secrets only now
    before, after = (pipeline.check(ruleset, either).results for either in (facts, clean))
    changed = [new for old, new in zip(before, after, strict=True) if old.verdict != new.verdict]
    redacted = Unknown("redacted; use --no-redact to keep it", "unsupported")
    undecided = (Measured(split_fact_path(result.fact), redacted) for result in changed)
    return replace_facts(clean, undecided), list(dict.fromkeys(result.id for result in changed))


def report_rules_undecided_by_redaction(rules: Iterable[str]) -> None:
    """Say which rules can't be judged from the redacted facts."""
    if names := ", ".join(rules):
        write_message(
            f"undecided, because values are redacted (to keep them, use --no-redact): {names}"
        )


def count_secrets_by_kind(texts: Iterable[str]) -> Mapping[str, int]:
    """Return how many secrets of each kind are redacted in texts."""
    placeholders = {match for text in texts for match in _SECRET_PLACEHOLDER_PATTERN.findall(text)}
    return Counter(kind for kind, _ in placeholders)


def format_redaction_counts(counts: Mapping[str, int]) -> str:
    """Return what is redacted in words: `1 host name, 2 passwords`."""
    parts = []
    for kind, count in sorted(counts.items()):
        name = _NAME_BY_SECRET_KIND.get(kind, kind)
        plural = "" if count == 1 else "es" if name.endswith("s") else "s"
        parts.append(f"{count} {name}{plural}")
    return ", ".join(parts) or "nothing that would be redacted"


def refuse_remaining_secrets(output: str, redactor: Redactor, files: Mapping[str, bytes]) -> None:
    """Raise InputError if a finished file still holds a secret; it says only where."""
    leftovers = [
        leftover
        for name, data in files.items()
        for leftover in redactor.find_remaining_secrets(name, data)
    ]
    if leftovers:
        shown = [
            f"{output} is not written: {leftover}"
            for leftover in leftovers[:MAX_LISTED_REMAINING_SECRETS]
        ]
        more = len(leftovers) - MAX_LISTED_REMAINING_SECRETS
        raise InputError(*shown, *([f"and {more} more"] if more > 0 else ()))
