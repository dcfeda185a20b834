"""Takes secrets out of what leaves the machine, and finds those that are left in a finished file.

The same secret has the same placeholder throughout one output, so that a log still reads. What is
learned of one text holds for all: whoever redacts several goes through them twice. A name that is
an ordinary word here, of a rule, a service or an image, is replaced only where its place tells
that it is a host's, a user's or a password.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from preflight.model.facts import Facts, Unknown, join_path, split_path
from preflight.model.report import Report, Result
from preflight.model.secrets import secret_kind
from preflight.snapshot.shapes import PLACEHOLDER, SHAPES, TOKEN, TOKENS, Shape

T = TypeVar("T")

_ANYWHERE = 8  # characters from which a secret is replaced inside of words too
_SHORTEST = 4  # characters below which a secret is replaced in its own place alone
_LONGEST = 2**14  # characters beyond which it is no secret but a file
_MOST = 2000  # secrets that are looked for everywhere
_TRIVIAL = frozenset(
    re.findall(
        r"\S+",
        """
        true false yes no on off none null nil unset empty missing invalid required expired changed
        unknown default example password passwd secret token root admin user test guest postgres
        mysql redis ubuntu debian alpine localhost node app docker podman www-data nobody runner
        linux darwin windows server client debug trace info warning error production development
        staging
        """,
    )
)
"""Words that are said everywhere: replaced only where their place tells what they are."""
_NUMBER = re.compile(r"[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(?:[._:/@-]+[a-z0-9]+)*")
_WORD = re.compile(r"[a-z]{1,12}")
_HOME = re.compile(r"(?:.*[\\/])?(?:home|[Uu]sers)[\\/]([^\\/]+)[\\/]?")
_HEX_ID = re.compile(r"(?:sha256[:-])?[a-f0-9]{12,64}")
_PLAIN = re.compile(r"[./~]|[\w.-]{1,253}:[0-9]{1,5}$|v?[0-9.]+[a-z]*$|[A-Za-z][\w+.-]*://")
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")
_IN_URL = re.compile(r"[a-z+]+://(?:[^/@\s]*@)?(\[[^\]]*\]|[^\s/:?#]+)")
_REGISTRY = re.compile(r"([\w.-]+\.[\w-]+)(?::[0-9]+)?/|([\w-]+):[0-9]+/")
_PUBLIC_REGISTRIES = (
    "docker.io", "ghcr.io", "quay.io", "gcr.io", "k8s.io", "mcr.microsoft.com", "nvcr.io",
    "public.ecr.aws", "registry.gitlab.com", "registry.access.redhat.com", "docker.elastic.co",
    "huggingface.co", "hf.co", "registry.ollama.ai", "ollama.com", "lscr.io", "cgr.dev",
)  # fmt: skip
_NODES = ("docker", "swarm", "nodes")
_TASKS = ("docker", "swarm", "services")
_HOST_NAMES = (("host", "hostname"), ("docker", "swarm", "loss", "node"))
_LOOPBACK = ("localhost", "host.docker.internal")


class Redactor:
    """What is known to be secret, and the placeholder of each.

    `shown` are the variables whose values a rule asks for; `public` are words that stay.
    """

    def __init__(self, shown: Collection[str] = (), public: Iterable[str] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._shown = frozenset(shown)
        self._public = {*_TRIVIAL, *(word.lower() for word in public)}
        self._placeholders: dict[str, str] = {}
        self._learned: set[str] = set()
        self._anywhere: dict[str, tuple[str, str]] = {}
        self._words: dict[str, tuple[str, str]] = {}
        self._patterns: tuple[re.Pattern[str] | None, re.Pattern[str] | None] | None = None

    # --- what is learned ----------------------------------------------------------------------

    def keep(self, words: Iterable[str]) -> None:
        """Let these words stay: names of services, containers, images."""
        self._public.update(word.lower() for word in words)

    def know(self, kind: str, value: str) -> None:
        """Replace a secret from now on wherever that is safe; it has a number once it is met."""
        if value in self._learned or len(self._learned) >= _MOST or PLACEHOLDER.fullmatch(value):
            return
        self._learned.add(value)
        fits = _SHORTEST <= len(value) <= _LONGEST
        if not fits or self._is_ordinary(value) or _NUMBER.fullmatch(value):
            return
        if kind != "password" and _WORD.fullmatch(value):
            return  # AUTH=optional
        self._patterns = None
        if len(value) < _ANYWHERE:
            self._words[value.lower()] = kind, value
            return
        for one in _spellings(value):
            self._anywhere.setdefault(one, (kind, value))
        for line in map(str.strip, value.splitlines()):
            if len(line) >= 2 * _ANYWHERE and line != value and "-----" not in line:
                self._anywhere.setdefault(line, (kind, value))

    def know_variable(self, name: str, value: str) -> None:
        """Know what an environment variable that is shown nowhere would reveal."""
        if kind := secret_kind(name):
            self.know(kind, value.strip())
        elif name not in self._shown and _stands_out(value):
            self.know("value", value.strip())
        if "://" in value:
            self.text(value)  # a URL holds its password

    def learn(self, kind: str, value: str) -> str:
        """Know a secret, and return its placeholder."""
        value = value.strip()
        if PLACEHOLDER.fullmatch(value):
            return value
        self.know(kind, value)
        return self._name(kind, value)

    def name(self, kind: str, value: str | None) -> None:
        """Learn a host's or a user's name, of this machine or of one that it talks to."""
        value = (value or "").strip().rstrip(".")
        is_name = len(value) > 1 and not (_ADDRESS.fullmatch(value) or PLACEHOLDER.search(value))
        if is_name and not self._is_ordinary(value):
            self._words[value.lower()] = kind, value
            self._patterns = None

    def variable(self, name: str, value: str) -> str:
        """Return what is shown of an environment variable, and know what is not."""
        kind = secret_kind(name)
        if not value or PLACEHOLDER.fullmatch(value) or (kind is None and name in self._shown):
            return self.text(value)
        self.know_variable(name, value)
        return self._name(kind or "value", value.strip())

    def reserve(self, text: str) -> None:
        """Leave the placeholders of what was redacted before to those who have them."""
        for found in PLACEHOLDER.finditer(text):
            kind, _, number = found[0][1:-1].rpartition("-")
            self.counts[kind] = max(self.counts[kind], int(number))

    def _name(self, kind: str, value: str) -> str:
        """Return the placeholder of a value."""
        known = self._placeholders.get(value)
        if known is None:
            self.counts[kind] += 1
            known = self._placeholders[value] = f"<{kind}-{self.counts[kind]}>"
        return known

    def _is_ordinary(self, value: str) -> bool:
        return value.lower() in self._public

    # --- what is replaced ---------------------------------------------------------------------

    def text(self, text: str) -> str:
        """Replace in a text, of any number of lines, what is known and what has a known shape."""
        if not text:
            return text
        text = self._known(text)
        text = TOKEN.sub(self._token, text)
        for shape in SHAPES:
            text = shape.pattern.sub(partial(self._shaped, shape), text)
        return self._named(self._known(text) if self._patterns is None else text)

    def _known(self, text: str) -> str:
        pattern = self._compiled()[0]
        if pattern is None:
            return text
        return pattern.sub(lambda found: self._name(*self._anywhere[found[0]]), text)

    def _named(self, text: str) -> str:
        pattern = self._compiled()[1]
        return text if pattern is None else pattern.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        return self._name(*self._words.get(found[0].lower(), ("secret", found[0])))

    def _compiled(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        if self._patterns is None:
            anywhere = re.compile(_any_of(list(self._anywhere))) if self._anywhere else None
            named = _any_of(list(self._words))
            bounded = f"(?i)(?<![A-Za-z0-9])(?:{named})(?![A-Za-z0-9])"
            self._patterns = anywhere, re.compile(bounded) if self._words else None
        return self._patterns

    def _token(self, found: re.Match[str]) -> str:
        assert found.lastgroup is not None
        return self._name(TOKENS[int(found.lastgroup[1:])][0], found[0])  # found anywhere

    def _shaped(self, shape: Shape, found: re.Match[str]) -> str:
        """Replace the groups of a shape, or all of it where it has none."""
        text, start = found[0], found.start()
        groups = [name for name, part in found.groupdict().items() if part]
        if not found.re.groupindex:
            return self._name(shape.kind, text)
        for name in sorted(groups, key=found.start, reverse=True):
            kind = "user" if name.startswith("user") else shape.kind
            first, last = found.start(name) - start, found.end(name) - start
            text = text[:first] + self._replaced(kind, found[name]) + text[last:]
        return text

    def _replaced(self, kind: str, value: str) -> str:
        if PLACEHOLDER.search(value) or (kind != "user" and value.lower() in _TRIVIAL):
            return value
        if kind in ("user", "host", "email"):
            plain = value == "root" or (kind == "host" and self._is_ordinary(value))
            return value if plain else self._name(kind, value)
        if kind == "password" and _NUMBER.fullmatch(value) and len(value) < _SHORTEST:
            return value
        if _looks_random(value) or len(value) >= 2 * _ANYWHERE:
            return self.learn(kind, value)
        return self._name(kind, value)

    def tree(self, node: T) -> T:
        """Replace in every text of a structure: lists, mappings with their keys, named tuples."""
        replaced: T = _mapped(node, self.text)
        return replaced

    def known(self, node: T) -> T:
        """Replace what is known to be secret, and nothing that only looks like it."""
        replaced: T = _mapped(node, lambda text: self._named(self._known(text)))
        return replaced

    def results(
        self, results: Iterable[Result], change: Callable[[Result], Result]
    ) -> tuple[Result, ...]:
        """Return results with `change` applied to their texts; keywords such as ids stay."""
        return tuple(
            change(result)._replace(
                id=result.id, verdict=result.verdict, severity=result.severity, unit=result.unit
            )
            for result in results
        )

    def report(self, report: Report) -> Report:
        """Replace in a report: a rule file may name hosts and users too."""
        return report._replace(
            results=self.results(report.results, self.tree),
            rules_name=self.text(report.rules_name),
            rules_source=self.text(report.rules_source),
            host=self.tree(report.host),
            engine=self.tree(report.engine),
            next=self.text(report.next),
            notes=self.tree(report.notes),
        )

    def facts(self, facts: Facts) -> Facts:
        """Replace in a snapshot: values, sources, reasons, and names that are paths."""
        return Facts(
            {name: self._fact((name,), value) for name, value in facts.values.items()},
            {self._path(path): self.text(source) for path, source in facts.sources.items()},
            {
                self._path(path): Unknown(self.text(why.reason), why.kind)
                for path, why in facts.unknown.items()
            },
            facts.measured_at,
            facts.version,
            {
                self._path(path): place._replace(file=self.text(place.file))
                for path, place in facts.places.items()
            },
        )

    def _fact(self, path: tuple[str, ...], value: Any) -> Any:
        if path in _HOST_NAMES and isinstance(value, str) and value:
            return self._host(value)
        if isinstance(value, str) and _is_hidden(path):
            return self.variable(path[-1], value)
        if isinstance(value, Mapping):
            return {self._key(path, key): self._fact((*path, key), v) for key, v in value.items()}
        if isinstance(value, list) and path[:3] == _TASKS and path[-1] == "nodes":
            return [self._host(one) if isinstance(one, str) else one for one in value]
        return self.tree(value)

    def _path(self, dotted: str) -> str:
        try:
            path = split_path(dotted)
        except ValueError:
            return self.text(dotted)  # a snapshot from elsewhere may name anything
        return join_path(tuple(self._key(path[:end], key) for end, key in enumerate(path)))

    def _key(self, path: tuple[str, ...], key: str) -> str:
        return self._host(key) if path == _NODES else self.text(key)

    def _host(self, value: str) -> str:
        """Replace the name of a host; what tells nodes of one name apart may stand behind it."""
        name, space, more = value.partition(" (")
        return value if PLACEHOLDER.fullmatch(name) else self._name("host", name) + space + more

    def compose(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Replace in an effective compose configuration: no value of a variable is shown that no
        rule asks for, nor the content of configs and secrets.
        """
        return {key: self._compose((str(key),), value) for key, value in config.items()}

    def _compose(self, path: tuple[str, ...], node: Any) -> Any:
        if path[-1] in ("environment", "args") and isinstance(node, Mapping):
            return {
                self.text(name): None if value is None else self.variable(name, _as_text(value))
                for name, value in node.items()
            }
        if isinstance(node, Mapping):
            return {
                self.text(str(key)): self._compose((*path, str(key)), value)
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [self._compose((*path, str(number)), one) for number, one in enumerate(node)]
        if path[0] in ("configs", "secrets") and path[-1] == "content" and isinstance(node, str):
            self.text(node)
            return self._name("content", node)
        if (
            isinstance(node, str)
            and (kind := secret_kind(path[-1]))
            and path[-2:-1] != ("services",)
        ):
            return self.learn(kind, node) if node else node
        return self.tree(node)

    # --- what is left -------------------------------------------------------------------------

    def left(self, text: str, *, shapes: Iterable[Shape] = SHAPES) -> Iterator[tuple[int, str]]:
        """Yield the line, from 1, and the name of each thing in a text that must not be there."""
        for pattern in self._compiled():
            for found in pattern.finditer(text) if pattern is not None else ():
                yield _line(text, found.start()), "a secret of this stack"
        for found in TOKEN.finditer(text):
            assert found.lastgroup is not None
            yield _line(text, found.start()), TOKENS[int(found.lastgroup[1:])][1]
        for shape in shapes:
            for found in shape.pattern.finditer(text):
                if self._shaped(shape, found) != found[0]:
                    yield _line(text, found.start()), shape.name


def _mapped(node: Any, change: Callable[[str], str]) -> Any:
    """Return a structure with every text of it changed."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {_mapped(key, change): _mapped(value, change) for key, value in node.items()}
    if isinstance(node, list | tuple):
        changed = [_mapped(one, change) for one in node]
        return type(node)(*changed) if hasattr(node, "_make") else type(node)(changed)
    return node


def _is_hidden(path: tuple[str, ...]) -> bool:
    """Whether it is a variable, or a label of a node: either may hold anything."""
    labels = path[:3] == _NODES and path[4:5] == ("labels",)
    return labels or path[0] == "env" or path[-2:-1] == ("environment",)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _looks_random(value: str) -> bool:
    """Whether a value can be replaced anywhere, since nobody says it by chance: letters of both
    cases or marks among letters and figures, and neither a path, an address nor a version.
    """
    if (
        len(value) < 6
        or _NUMBER.fullmatch(value)
        or _HEX_ID.fullmatch(value)
        or _PLAIN.match(value)
    ):
        return False
    classes = sum(
        any(test(one) for one in value)
        for test in (str.islower, str.isupper, str.isdigit, lambda one: not one.isalnum())
    )
    return classes >= 2 and any(map(str.isdigit, value))


def _stands_out(value: str) -> bool:
    """Whether it looks random under a name that doesn't tell: no tag, no host, no model's name."""
    return _looks_random(value) and (len(value) >= 20 or not _IDENTIFIER.fullmatch(value))


def _spellings(value: str) -> list[str]:
    """Return a secret as it may stand in URLs, JSON, pages, and in Base64 beside other text."""
    spelled = [
        value,
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        value.replace("$", "$$"),
        value.encode().hex() if value.isprintable() else value,
    ]
    data = value.encode("utf-8", "replace")
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + data).decode()
        core = coded[(0, 2, 3)[before] : len(coded) - (0, 4, 3)[(before + len(data)) % 3]]
        spelled += [core, core.translate(str.maketrans("+/", "-_"))]
    return [one for one in dict.fromkeys(spelled) if len(one) >= _ANYWHERE]


def _any_of(texts: list[str]) -> str:
    """Return a pattern of many texts by their common beginnings, the longest first: as a plain
    list of alternatives each would be tried at every place.
    """
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text[:1], []).append(text)
    parts = []
    for first, members in groups.items():
        if not first:
            continue
        if len(members) == 1:
            parts.append(re.escape(members[0]))
            continue
        least, most = min(members), max(members)
        same = next((n for n, one in enumerate(least) if one != most[n]), len(least))
        start = least[:same]
        rest = _any_of([member[len(start) :] for member in members])
        optional = "?" if start in members else ""
        parts.append(f"{re.escape(start)}(?:{rest}){optional}")
    return "|".join(parts)


# --- what a redactor is told of a machine -------------------------------------------------------


def know_this_machine(redactor: Redactor, environ: Mapping[str, str] = os.environ) -> None:
    """Tell it the names of this host and its user, and the secrets of this environment."""
    host = socket.gethostname()
    for name in (host, host.partition(".")[0]):
        redactor.name("host", name)
    home = _HOME.fullmatch(environ.get("HOME") or environ.get("USERPROFILE") or "")
    for user in (home and home[1], *map(environ.get, ("USER", "LOGNAME", "USERNAME", "SUDO_USER"))):
        redactor.name("user", user)
    for name, value in environ.items():
        if kind := secret_kind(name):
            redactor.know(kind, value.strip())


def hosts_of(facts: Facts) -> Iterator[str]:
    """Yield the host names that a snapshot holds: its own and those of a Swarm's nodes, those of
    addresses, of registries.
    """
    nodes = facts.get(_NODES)
    names = [name.partition(" (")[0] for name in nodes] if isinstance(nodes, Mapping) else []
    for own in (facts.get(("host", "hostname")), *names):
        if isinstance(own, str):
            yield from (own, own.partition(".")[0])
    for path in (("docker", "endpoint"), ("ollama", "endpoint")):
        address = facts.get(path)
        if not isinstance(address, str) or address.startswith(("unix:", "npipe:")):
            continue
        found = _IN_URL.match(address)
        if found and found[1] not in _LOOPBACK:
            yield found[1]
    for group in (("compose", "services"), ("stack", "containers")):
        for one in _maps(facts.get(group)):
            yield from registry_of(one.get("image"))


def registry_of(image: object) -> Iterator[str]:
    """Yield the host of an image's registry, unless everybody's."""
    found = _REGISTRY.match(image) if isinstance(image, str) else None
    host = (found[1] or found[2]) if found else None
    known = host is None or host in _LOOPBACK or host.endswith(_PUBLIC_REGISTRIES)
    if host is not None and not known:
        yield host


def names_of(facts: Facts) -> Iterator[str]:
    """Yield the words that name the parts of a stack: they aren't secret."""
    for group in (("compose", "services"), ("stack", "containers"), ("host", "ports")):
        items = facts.get(group)
        if isinstance(items, Mapping):
            yield from items
            for one in _maps(items):
                image = one.get("image")
                yield from re.split(r"[/:@.-]", image) if isinstance(image, str) else ()
                known = one.get("known_as")
                yield from map(str, known) if isinstance(known, list) else ()
    for path in (("compose", "project"), ("model", "name"), ("docker", "context")):
        value = facts.get(path)
        if isinstance(value, str):
            yield from (value, *re.split(r"[/:@.-]", value))


def _maps(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield from (one for one in node.values() if isinstance(one, Mapping))
