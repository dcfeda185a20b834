"""A requirements document in Markdown: its sections, and the text in them without markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from preflight.model.problems import InputError, Problem

MAX_DOCUMENT = 2**20  # bytes

Span = tuple[int, int]

_LINE_END = re.compile(r"\r\n?|\n")  # as the parser counts lines
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


class Block(NamedTuple):
    """A paragraph, a row of a table, a heading or a block of code, with its first line's number.

    `code` are the spans of code in it; `language` is None in prose, and what a code block is
    marked as.
    """

    text: str
    line: int
    code: tuple[Span, ...] = ()
    language: str | None = None
    heading: bool = False


class Section(NamedTuple):
    """What stands under a heading, up to the next one; the text before the first has level 0."""

    title: str
    level: int
    blocks: list[Block]


class Document(NamedTuple):
    """A document: its sections in their order, its lines as they are written."""

    name: str
    sections: tuple[Section, ...]
    lines: tuple[str, ...]

    def titles(self) -> list[str]:
        """Return every heading."""
        return [section.title for section in self.sections if section.level]

    def within(self, title: str) -> list[int]:
        """Return the numbers of the sections of this title and of all below them."""
        return [
            number
            for start, section in enumerate(self.sections)
            if section.level and section.title == title
            for number in self._below(start)
        ]

    def _below(self, start: int) -> Iterator[int]:
        yield start
        for number in range(start + 1, len(self.sections)):
            if self.sections[number].level <= self.sections[start].level:
                return
            yield number


def read(data: bytes, name: str) -> Document:
    """Read a document; raises InputError where it is none."""

    def wrong(message: str) -> InputError:
        return InputError(Problem(name, 0, 0, f"{message}: no requirements document in Markdown"))

    if len(data) > MAX_DOCUMENT:
        raise wrong(f"larger than {MAX_DOCUMENT // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise wrong("no UTF-8 text") from None
    if "\0" in text:
        raise wrong("no text")
    lines = _LINE_END.split(text)
    tokens = MarkdownIt("commonmark").enable("table").parse(_without_front_matter(lines))
    sections = [Section("", 0, [])]
    for block, level in _blocks(tokens):
        if level:
            sections.append(Section(" ".join(block.text.split()), level, []))
        sections[-1].blocks.append(block)
    if len(sections) == 1:
        raise wrong("no heading in it")
    return Document(name, tuple(sections), tuple(lines))


def _without_front_matter(lines: Iterable[str]) -> str:
    """Return the text with a YAML header blanked: it would be read as a heading."""
    text = "\n".join(lines)
    header = _FRONT_MATTER.match(text)
    return text if header is None else "\n" * header[0].count("\n") + text[header.end() :]


def _blocks(tokens: list[Token]) -> Iterator[tuple[Block, int]]:
    """Yield the blocks, each with its level where it is the heading of a section, else 0.

    A heading in a quotation or a list is no section's.
    """
    level, row = 0, None
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1:]) if token.level == 0 else 0
        elif token.type == "tr_open":
            row = Block("", _line(token))
        elif token.type == "tr_close" and row is not None:
            yield row, 0
            row = None
        elif token.type == "inline":
            block = _inline(token)
            if row is not None:
                row = _joined(row, block)
            else:
                yield block._replace(heading=level > 0), level
            level = 0
        elif token.type in ("fence", "code_block"):
            line = _line(token) + (token.type == "fence")
            yield Block(token.content, line, (), (token.info.split() or [""])[0].lower()), 0


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1


def _inline(token: Token) -> Block:
    """Return the text of a paragraph or heading without its markup, line by line."""
    text, code = "", []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            text += "\n"
        elif child.type == "code_inline":
            code.append((len(text), len(text) + len(child.content)))
            text += child.content
        elif child.type in ("text", "image"):
            text += child.content
        elif child.type == "html_inline":
            text += " "
    return Block(text, _line(token), tuple(code))


def _joined(row: Block, cell: Block) -> Block:
    """Return a table's row with one more cell."""
    text = f"{row.text} | "
    moved = tuple((start + len(text), end + len(text)) for start, end in cell.code)
    return row._replace(text=text + cell.text, code=row.code + moved)
