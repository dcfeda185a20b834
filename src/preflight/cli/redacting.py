"""What commands say of redaction: what it hid, what it would show, and where a secret is left."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli.streams import complain
from preflight.model.facts import Facts, Measured, Unknown, replace_facts, split_path
from preflight.model.problems import InputError
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.snapshot.redact import Redactor

PRIVATE = 0o600
_PLACEHOLDER = re.compile(r"(?:<|&lt;)([a-z]+)-([1-9][0-9]*)(?:>|&gt;)")
_NAMES = {
    "host": "host name",
    "user": "user name",
    "email": "e-mail address",
    "value": "environment value",
    "content": "config's content",
}
_MOST_TOLD = 5


def build_redactor(
    ruleset: RuleSet, facts: Facts, hidden: Iterable[tuple[str, str]] = ()
) -> Redactor:
    """Return what knows the secrets of this machine and of a stack with these hidden variables."""
    from preflight.facts.catalogue import OLLAMA_VARIABLES
    from preflight.snapshot import redact

    shown = OLLAMA_VARIABLES | {
        path[-1] for path in ruleset.required_facts if path[0] == "env" or "environment" in path
    }
    public = (*ruleset.words(), *pipeline.catalogue().names(), *redact.names_of(facts))
    redactor = redact.Redactor(shown, public)
    redact.know_this_machine(redactor)
    for host in redact.hosts_of(facts):
        redactor.name("host", host)
    for name, value in hidden:
        redactor.know_variable(name, value)
    redactor.reserve(json.dumps([facts.values, facts.sources], ensure_ascii=False))
    return redactor


def redact_facts(redactor: Redactor, ruleset: RuleSet, facts: Facts) -> tuple[Facts, list[str]]:
    """Return facts without secrets that get the same verdicts, and the rules that can't have them.

    The facts that such a rule asks for become unknown: it is undecided, and never another verdict.
    """
    clean = redactor.facts(redactor.facts(facts))  # what the end teaches holds for the beginning
    selection = pipeline.select(ruleset, (), (), strict=False)
    before, after = (
        pipeline.check(ruleset, either, selection, 0).results for either in (facts, clean)
    )
    changed = [now for was, now in zip(before, after, strict=True) if was.verdict != now.verdict]
    reason = Unknown("redacted: --no-redact keeps it", "unsupported")
    clean = replace_facts(clean, (Measured(split_path(one.fact), reason) for one in changed))
    return clean, list(dict.fromkeys(one.id for one in changed))


def kinds(*texts: str) -> Mapping[str, int]:
    """Return how many secrets of each kind are redacted in texts."""
    found = {placeholder for text in texts for placeholder in _PLACEHOLDER.findall(text)}
    return Counter(kind for kind, _ in found)


def counted(*texts: str) -> str:
    """Say what is redacted in texts: `2 passwords, 1 host name`."""
    by_kind = sorted(kinds(*texts).items())
    parts = [_plural(count, _NAMES.get(kind, kind)) for kind, count in by_kind]
    return ", ".join(parts) or "nothing that would be redacted"


def _plural(count: int, name: str) -> str:
    if count == 1:
        return f"{count} {name}"
    return f"{count} {name}{'es' if name.endswith('s') else 's'}"


def say_undecided(rules: Iterable[str]) -> None:
    """Say which rules the snapshot leaves open, since they ask for what is redacted."""
    if names := ", ".join(rules):
        complain(f"what {names} asks for is redacted: undecided from this; --no-redact keeps it")


def refuse_leftovers(what: str, redactor: Redactor, files: Mapping[str, bytes]) -> None:
    """Raise InputError where a finished file still holds a secret; it names the place alone."""
    from preflight.snapshot.bundle import leftovers

    left = [line for name, data in files.items() for line in leftovers(redactor, name, data)]
    if left:
        more = [f"and {len(left) - _MOST_TOLD} more"] if len(left) > _MOST_TOLD else []
        raise InputError(*(f"{what} is not written: {line}" for line in left[:_MOST_TOLD]), *more)
