"""A rule set, decoded: names resolved, vars replaced, quantities parsed."""

import datetime
import os.path
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args

from preflight.model.conditions import Condition
from preflight.model.facts import Path, Unit
from preflight.model.fix_commands_and_edits import FixKind
from preflight.model.quantities import parse_size_with_unit

DEFAULT_RULE_SET = "default"  # how `extends` names the bundled rules of the document
GENERAL_RULE_SET = "general"  # the bundled rules that hold for any stack
KNOWN_ERRORS_SET = "errors"  # the bundled diagnoses, which lie beneath those of any file
IMAGES_RULE_SET = "images"  # what well-known images need, a part of `general`
_PACK_IMAGES_FILE = os.path.join(os.path.dirname(__file__), "../rulesets/packs/images.txt")
with open(_PACK_IMAGES_FILE, encoding="utf-8") as _lines:
    IMAGES_BY_PACK = {pack: tuple(images) for pack, *images in map(str.split, _lines)}
"""The packs, bundled sets that state the requirements document of a well-known stack: by name the
images by which a project of that stack is known."""
BUNDLED_FILE_BY_SET = {
    GENERAL_RULE_SET: "rulesets/general.yaml",
    IMAGES_RULE_SET: "rulesets/images.yaml",
    DEFAULT_RULE_SET: "rules.yaml",
    KNOWN_ERRORS_SET: "rulesets/errors.yaml",
    **{pack: f"rulesets/packs/{pack}.yaml" for pack in IMAGES_BY_PACK},
}
BUNDLED_ORIGIN = "bundled"  # of a rule set that isn't a file of the user's
BUNDLED_DISPLAY_NAMES = {
    name: BUNDLED_ORIGIN if name == DEFAULT_RULE_SET else f"bundled {name}"
    for name in BUNDLED_FILE_BY_SET
}
"""How reports and problems name them."""
BUNDLED_FILE_BY_DISPLAY_NAME = {
    display_name: BUNDLED_FILE_BY_SET[name] for name, display_name in BUNDLED_DISPLAY_NAMES.items()
}
# `{actual}` in a text
TEXT_PLACEHOLDER_PATTERN = re.compile(r"(?<![{$])\{([a-z_][A-Za-z0-9_.\"-]*)\}(?!\})")
EMBEDDED_RULES_KEY = b"x-preflight"  # of a compose file that holds the content of a rule file
MAX_RULE_FILE_BYTES = 16 * 2**20  # of a rule file

Confidence: TypeAlias = Literal["certain", "likely", "possible"]
CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)

_TASKS_PLACED_REPLACEMENT_MESSAGE = "swarm-tasks-placed replaces it"
RETIRED_RULES: Mapping[str, str] = {
    "swarm-tasks-packed": _TASKS_PLACED_REPLACEMENT_MESSAGE,
    "swarm-tasks-would-pack": _TASKS_PLACED_REPLACEMENT_MESSAGE,
    "swarm-node-lost": "nothing replaces it",
}
"""Rules of earlier versions: by id what replaces them. Naming one has no effect except a note."""


class FactCondition(NamedTuple):
    """`fact: condition`, one line of a `when`."""

    path: Path
    condition: Condition


class Fix(NamedTuple):
    """What to do. `command` is shown to copy, never run. Without a `kind` it is derived."""

    text: str
    when: tuple[FactCondition, ...] = ()
    command: str | None = None
    url: str | None = None
    kind: FixKind | None = None


class Rule(NamedTuple):
    """One requirement (`require`) or recommendation (`recommend`) on one fact."""

    id: str
    title: str
    fact: Path
    require: Condition | None = None
    recommend: Condition | None = None
    why: str = ""
    section: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    when: tuple[FactCondition, ...] = ()
    enabled: bool = True
    for_each: Path | None = None
    problem: str | None = None  # the sentence when it isn't met
    error: str | None = None
    fixes: tuple[Fix, ...] = ()
    document: bool = True  # whether the document states it
    file: str = ""  # where it is defined
    line: int | None = None
    column: int | None = None


class DocumentEdition(NamedTuple):
    """Where a requirements document is, the day of its last change, and its version."""

    url: str
    date: datetime.date | None = None
    version: str = ""


class LanguageModel(NamedTuple):
    """A language model and the memory that it needs, in bytes."""

    name: str
    memory: float
    note: str = ""


class UnlessDiagnosis(NamedTuple):
    """A diagnosis that explains another: anywhere in the logs, or for the same captured value."""

    id: str
    same: str | None = None


class DiagnosisRule(NamedTuple):
    """A known error: regular expressions that find it in a log, its cause and its fixes.

    `values` says how named groups are read. `times` lines must match, `within` seconds if that is
    given. It isn't reported where a diagnosis of `unless` explains it, nor without `report`: then
    it only explains others. `service` is the fact that names its service if the log's name doesn't.
    """

    id: str
    title: str
    patterns: tuple[str, ...]
    cause: str = ""
    fixes: tuple[Fix, ...] = ()
    confidence: Confidence = "likely"
    values: Mapping[str, str] = MappingProxyType({})
    figures: tuple[str, ...] = ()
    times: int = 1
    within: float | None = None
    unless: tuple[UnlessDiagnosis, ...] = ()
    service: Path | None = None
    report: bool = True
    examples: tuple[str, ...] = ()
    versions: str | None = None


LOG_FACT_NAMESPACE = "log"  # the first segment of facts from a log line; a fix has only {required}
UNIT_BY_VALUE_TYPE: Mapping[str, Unit] = {
    "string": "text",
    "number": "number",
    "bytes": "bytes",
    "KiB": "bytes",  # a number of them, as the kernel writes
    "duration": "seconds",
}
UNIT_BY_COMPUTED_PLACEHOLDER: Mapping[str, Unit] = {
    "lacking": "bytes",
    "fitting": "text",
    "fitting_memory": "bytes",
    "container": "text",
    "service": "text",
    "limit": "bytes",
}
"""Values calculated from a log line and the facts: `required` less `available`, the largest model
that fits in `available` and its memory, the container and service of the log, and its memory limit.
What neither the log nor the facts have is absent."""


class Waiver(NamedTuple):
    """A known exception, through the day `until` (UTC) and only while the value meets `accept`."""

    rule: str
    reason: str
    owner: str
    until: datetime.date
    accept: Condition | None = None
    file: str = ""
    line: int = 0
    column: int = 0


class RuleSet(NamedTuple):
    """Rules in the order of the file, with their origin."""

    name: str
    origin: str  # the file, or "bundled"
    sha256: str
    source: str = ""  # the document the rules state
    edition: DocumentEdition | None = None  # of that document
    next: str = ""  # the command to run when everything passes
    rules: tuple[Rule, ...] = ()
    applies: tuple[tuple[FactCondition, ...], ...] = ((),)  # unless one holds, only `extended` are
    otherwise: str = ""  # why, in words, where none holds
    extends: tuple[str, ...] = ()  # the bundled sets and files that the file names
    extended: tuple[Rule, ...] = ()  # the rules of what the file extends, as they are there
    vars: Mapping[str, str] = MappingProxyType({})
    profile: str = ""  # whose vars these are
    profiles: tuple["Profile", ...] = ()  # to choose from; none if one was chosen by name
    models: tuple[LanguageModel, ...] = ()
    diagnoses: tuple[DiagnosisRule, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    required_facts: frozenset[Path] = frozenset()  # every fact that a rule names
    documents: Mapping[str, str] = MappingProxyType({})  # by file: what its rules state
    notes: tuple[str, ...] = ()  # on retired names that the file uses

    def tags(self) -> list[str]:
        """Return every tag in use, in order of appearance."""
        return list(dict.fromkeys(tag for rule in self.rules for tag in rule.tags))

    def get_document_name_of_rule(self, rule: Rule) -> str:
        """Return the name of the document that states a rule, or nothing."""
        return self.documents.get(rule.file, self.source) if rule.document else ""

    @property
    def system_overhead_bytes(self) -> float | None:
        """The var `system_overhead` in bytes, what the host keeps for itself; None without it."""
        text = self.vars.get("system_overhead")
        try:
            return None if text is None else parse_size_with_unit(text)
        except ValueError:
            return None  # a rule that uses it is a problem already

    def environment_variables(self) -> list[str]:
        """Return the names of the environment variables that rules use."""
        return sorted(
            path[1] for path in self.required_facts if path[0] == "env" and len(path) == 2
        )

    def collect_unredacted_words(self) -> set[str]:
        """Return every word of the rules and models, in lower case; redaction keeps these."""
        texts = [f"{self.name} {self.source} {self.next}"]
        for rule in self.rules:
            texts += [rule.id, rule.title, rule.why, rule.section, *rule.tags]
            texts += [f"{fix.text} {fix.command} {fix.url}" for fix in rule.fixes]
        names = {model.name.lower() for model in self.models}
        return names | set(re.findall(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", " ".join(texts).lower()))


class Profile(NamedTuple):
    """A rule set with the vars of a profile, chosen by name or where all of `when` holds."""

    name: str
    when: tuple[FactCondition, ...] | None
    vars: Mapping[str, str]
    ruleset: RuleSet


def describe_retired_rule(rule: str) -> str:
    """Return the note about a retired rule."""
    return f"rule {rule} no longer exists: {RETIRED_RULES[rule]}"
