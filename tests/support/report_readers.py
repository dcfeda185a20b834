"""Readers of reports: GitHub's runner, CI systems, Markdown, HTML in a browser, code scanning.

The grammar of workflow commands is that of actions/runner, src/Runner.Common/ActionCommand.cs:
`TryParseV2` takes a line that starts with `::` once its leading blanks are gone, up to the next
`::`; where that is no command, `TryParse` takes `##[name …]` anywhere in the line. Only registered
names count. Escapes are undone one after the other, `%25` last.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lxml import etree
from markdown_it import MarkdownIt
from markdown_it.token import Token

from engines import skip_or_fail
from preflight.model.report import Report, Result

REGISTERED = {  # the extensions in ActionCommandManager.cs, in lower case, as they are compared
    *("stop-commands", "internal-set-repo-path", "set-env", "set-output", "save-state"),
    *("add-mask", "add-path", "add-matcher", "remove-matcher", "debug", "warning", "error"),
    *("notice", "group", "endgroup", "echo"),
}


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    data: str


def unescaped(text: str, *codes: str) -> str:
    for code in (*codes, "%25"):
        text = text.replace(code, chr(int(code[1:], 16)))
    return text


def new_style(line: str) -> Command | None:
    line = line.lstrip()
    if not line.startswith("::") or (end := line.find("::", 2)) < 0:
        return None
    name, _, rest = line[2:end].partition(" ")
    if name.lower() not in REGISTERED:
        return None
    properties = {}
    for pair in filter(None, rest.strip().split(",")):
        key, _, value = pair.partition("=")
        if key and value:
            properties[key] = unescaped(value, "%0D", "%0A", "%3A", "%2C")
    return Command(name, properties, unescaped(line[end + 2 :], "%0D", "%0A"))


def old_style(line: str) -> Command | None:
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name = line[start + 3 : end].partition(" ")[0]
    return Command(name, {}, line[end + 1 :]) if name.lower() in REGISTERED else None


def commands(text: str) -> list[Command]:
    """Return what the runner would do; it reads lines that end in CR, LF or both."""
    lines = text.replace("\r", "\n").split("\n")
    return [found for line in lines if (found := new_style(line) or old_style(line))]


ACTS = re.compile("[^\\n -~\xa0-\u2027\u202f-\ud7ff\ue000-\U0010ffff]|[\u2066-\u2069\ufeff]")


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "preflight-ci"


AXE = CACHE / "node_modules/axe-core/axe.min.js"


BREAKING_OUT = {
    "element": "</p></dl></details></main></body></html><script>window.owned=1</script>",
    "attribute": "\"'><img src=x onerror='window.owned=1'><a href=\"http://evil.example/\">",
    "handler": '" onmouseover="window.owned=1" autofocus onfocus="window.owned=1" x="',
    "raw text": "</style></script></title></textarea><script>window.owned=1</script>",
    "comment": "--><!-- <![CDATA[ ]]> <?php ?> <!doctype html>",
    "svg": "<svg onload=window.owned=1><style>*{display:none}</style><use href=data:x></svg>",
    "entities": "&lt;script&gt;window.owned=1&lt;/script&gt;&#60;b&#62;&notin;&nbsp",
    "template": "{{ 7 * 7 }}{% include '/etc/passwd' %}{# x #}",
    "loads": '<link rel=stylesheet href=//evil.example><meta http-equiv=refresh content="0;//e">',
}
"""What would break out of the places that HTML has, by the place."""


def state(case: etree._Element) -> str:
    """What Jenkins and GitLab make of a case: the element in it decides."""
    kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    assert len(kinds) <= 1
    return kinds[0] if kinds else "passed"


def states(root: etree._Element) -> Counter[str]:
    """Count the cases; the figures that the suites claim must be the same."""
    found = Counter(map(state, root.iter("testcase")))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert sum(int(suite.get(attribute, 0)) for suite in root) == found[kind]
    assert sum(int(suite.get("tests", 0)) for suite in root) == found.total()
    return found


def expected(report: Report) -> Counter[str]:
    def kind(one: Result) -> str:
        if report.affects_exit_code(one):
            return "error" if one.verdict == "unknown" else "failure"
        return "passed" if one.verdict in ("pass", "warn") else "skipped"

    return Counter(map(kind, report.results))


BREAK = "\u200b"


class Read:
    """A document as the parser sees it."""

    def __init__(self, text: str) -> None:
        parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        self.blocks = parser.parse(text)
        self.inline = [one for block in self.blocks for one in block.children or ()]

    def kinds(self) -> set[str]:
        return {token.type for token in (*self.blocks, *self.inline)}

    def texts(self, after: str) -> list[str]:
        """What each block of a kind says."""
        pairs = zip(self.blocks, self.blocks[1:], strict=False)
        return [text_of(inline) for block, inline in pairs if block.type == after]

    def fences(self) -> list[Token]:
        return [token for token in self.blocks if token.type == "fence"]

    def links(self) -> list[Any]:
        return [token.attrs["href"] for token in self.inline if token.type == "link_open"]

    def rows(self) -> Iterator[list[str]]:
        row: list[str] = []
        for block, inline in zip(self.blocks, self.blocks[1:], strict=False):
            if block.type == "tr_open":
                row = []
            elif block.type in ("td_open", "th_open"):
                row.append(text_of(inline))
            elif block.type == "tr_close":
                yield row

    def list_items(self, level: int) -> int:
        return sum(one.type == "list_item_open" and one.level == level for one in self.blocks)


def text_of(inline: Token) -> str:
    """The text that a reader sees, without what keeps it from being a link."""
    return "".join(one.content for one in inline.children or ()).replace(BREAK, "")


def program(name: str) -> str:
    found = shutil.which(name)
    return found or skip_or_fail(f"{name} is not installed")


def check_github(run: dict[str, Any]) -> None:
    """What GitHub asks beyond the schema; it refuses a file whole for one result without it.

    https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
    """
    driver = run["tool"]["driver"]
    assert driver["name"]
    assert len(run["results"]) <= 25_000
    assert len(driver["rules"]) <= 25_000
    for rule in driver["rules"]:
        assert rule["id"]
        assert len(rule.get("name", "")) <= 255
        assert 1 <= len(rule["shortDescription"]["text"]) <= 1024
        assert 1 <= len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"].strip()
        assert rule["help"]["markdown"].strip()
        assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
        assert len(rule["properties"]["tags"]) <= 20
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
    for result in run["results"]:
        assert result["message"]["text"].strip()
        (location,) = result["locations"]
        place = location["physicalLocation"]
        check_uri(place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] >= 1
        assert result["partialFingerprints"]["primaryLocationLineHash"]


def check_uri(uri: str) -> None:
    """An absolute file or a path below the sources: any other scheme is refused."""
    assert uri
    assert re.fullmatch(r"[A-Za-z0-9/_.~:%-]+", uri)
    assert not re.search(r"%(?![0-9A-F]{2})", uri)
    parts = urlsplit(uri)
    assert parts.scheme in ("", "file")
    assert not parts.query
    assert not parts.fragment
    if not parts.scheme:
        assert not uri.startswith("/")
