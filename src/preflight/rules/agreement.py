"""Rules held against the document that they state: what of either isn't in the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters
from typing import NamedTuple

from preflight.model.problems import Problem, did_you_mean
from preflight.model.rules import Model, Rule, RuleSet
from preflight.rules.figures import Claim, Figure, Part, Reading, claims, figures, written
from preflight.rules.markdown import Block, Document

_SHOWN = 6  # figures that a problem names


class Agreement(NamedTuple):
    """What was found: problems of the rules, remarks on the document, and how much agrees."""

    problems: tuple[Problem, ...]
    remarks: tuple[Problem, ...]
    rules: int  # that name a section of it
    figures: int  # of rules and models, that stand there


def compare(ruleset: RuleSet, document: Document) -> Agreement:
    """Look for each rule's section and figures, each model's memory, and what nobody states.

    Rules marked `document: false` are left out, and those of extended files that state another
    document (`source`).
    """
    return _Comparison(ruleset, document).result()


class _Comparison:
    """One reading of a document, with what was found so far."""

    def __init__(self, ruleset: RuleSet, document: Document) -> None:
        self.ruleset = ruleset
        self.document = document
        self.blocks = [
            [(block, tuple(figures(block))) for block in section.blocks]
            for section in document.sections
        ]
        self.parts: dict[str, Part | None] = {}  # by the title of a section
        self.stated: list[set[Reading]] = [set() for _ in self.blocks]  # by section
        self.told: set[tuple[int, str]] = set()  # by line, what a model's entry tells
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []
        self.rules = self.figures = 0

    def result(self) -> Agreement:
        """Compare it all."""
        own = self.ruleset.source
        for rule in self.ruleset.rules:
            if rule.document and self.ruleset.document_of(rule) == own:
                self._rule(rule)
        for model in self.ruleset.models:
            if self.ruleset.sources.get(model.file, own) == own:
                self._model(model)
        self.remarks += self._unstated()
        problems, remarks = tuple(sorted(self.problems)), tuple(dict.fromkeys(self.remarks))
        return Agreement(problems, remarks, self.rules, self.figures)

    def _rule(self, rule: Rule) -> None:
        made = claims(rule)
        if rule.section:
            part = self._part(rule.section)
            if part is None:
                near = did_you_mean(rule.section, self.document.titles())
                self._wrong(rule, f"no section {rule.section!r} in {self.document.name}{near}")
                return
            self.rules += 1
            for claim in made:
                if part.has(claim):
                    self.figures += 1
                else:
                    where = f"{rule.section!r} of {self.document.name}"
                    self._wrong(rule, f"{claim.text} isn't in {where}{_beside(claim, part)}")
        for number in self._sections(rule.section):
            self.stated[number].update(reading for one in made for reading in one.readings())

    def _sections(self, title: str) -> list[int]:
        """Return the sections that a rule is about: without a title, all of them."""
        return self.document.within(title) if title else list(range(len(self.blocks)))

    def _part(self, title: str) -> Part | None:
        """Return the figures under a heading, those of all where it stands twice."""
        if title not in self.parts:
            numbers = self.document.within(title)
            found = (one for n in numbers for _, each in self.blocks[n] for one in each)
            self.parts[title] = Part(found) if numbers else None
        return self.parts[title]

    def _wrong(self, where: Rule | Model, message: str) -> None:
        what = f"rule {where.id}" if isinstance(where, Rule) else f"model {where.name}"
        place = (where.file, where.line or 0, where.column or 0)
        self.problems.append(Problem(*place, f"{what}: {message}"))

    def _model(self, model: Model) -> None:
        """Look for a model's memory beside its name, or in the sections that name it."""
        claim = Claim(written(("bytes", model.memory)), ("bytes", model.memory))
        sections, beside = self._naming(model.name)
        if not sections:
            place = (model.file, model.line or 0, model.column or 0)
            told = f"model {model.name}: {self.document.name} doesn't name it"
            self.remarks.append(Problem(*place, told))
            return
        part = Part(beside or (f for n in sections for _, each in self.blocks[n] for f in each))
        if part.has(claim):
            self.figures += 1
        else:
            self._wrong(model, f"{claim.text} isn't in {self.document.name}{_beside(claim, part)}")
        self.told.update((one.line, one.text) for one in part.figures if _fits(claim, one))

    def _naming(self, name: str) -> tuple[list[int], list[Figure]]:
        """Return the sections that name a model, and the sizes that stand beside its name."""
        whole = re.compile(rf"(?<![\w:/.-]){re.escape(name)}(?![\w:/-])")
        sections, beside = [], []
        for number, blocks in enumerate(self.blocks):
            naming = [found for block, found in blocks if whole.search(block.text)]
            sections += [number] if naming else []
            beside += [one for found in naming for one in found if _is_size(one)]
        return sections, beside

    def _unstated(self) -> Iterator[Problem]:
        """Yield the figures of the document that no rule of their section states."""
        for blocks, stated in zip(self.blocks, self.stated, strict=True):
            for block, found in blocks:
                for one in found:
                    by_model = (one.line, one.text) in self.told
                    if one.telling and not by_model and not one.readings & stated:
                        yield self._remark(one, block)

    def _remark(self, figure: Figure, block: Block) -> Problem:
        inside = " (in a block of code)" if block.language is not None else ""
        told = f"no rule states {' '.join(figure.text.split())}{inside}"
        return Problem(self.document.name, figure.line, self._column(figure), told)

    def _column(self, figure: Figure) -> int:
        """Return where a figure begins in its line; the lower one of a range lacks its unit."""
        line = self.document.lines[figure.line - 1]
        first = figure.text.split("\n")[0]
        looks = (rf"(?<!\w){re.escape(one)}" for one in (first, first.rstrip(ascii_letters)))
        found = next(filter(None, (re.search(look, line) for look in looks)), None)
        return found.start() + 1 if found else 1


def _fits(claim: Claim, figure: Figure) -> bool:
    return claim.reading in figure.readings


def _is_size(figure: Figure) -> bool:
    families = {family for family, _ in figure.readings}
    return "bytes" in families and "number" not in families


def _beside(claim: Claim, part: Part) -> str:
    """Say what stands there instead: the same figure in the other family, or others of its kind."""
    family, value = claim.reading
    others = [one for one in part.figures if _kind(one, claim)]
    for one in others if family == "bytes" else ():
        for size in (size for kind, size in one.readings if kind == "bytes"):
            if _other_family(value, size):
                kind = "binary" if size > value else "decimal"
                return f"; {one.text} in line {one.line} is {kind}"
    texts = list(dict.fromkeys(" ".join(one.text.split()) for one in others))
    if not texts:
        return ", which has none of its kind"
    return f", which has {', '.join(texts[:_SHOWN])}{' …' if len(texts) > _SHOWN else ''}"


def _kind(figure: Figure, claim: Claim) -> bool:
    """Whether a figure is one that a claim could have meant."""
    if claim.variable and figure.variable:
        return figure.variable == claim.variable
    family = claim.reading[0]
    if family == "bytes":
        return _is_size(figure)
    return any(kind == family for kind, _ in figure.readings)


def _other_family(one: float, other: float) -> bool:
    """Whether two sizes are the same count of GB and GiB, or of MB and MiB, or the like."""
    return any(
        one * 1024**power == other * 1000**power or one * 1000**power == other * 1024**power
        for power in range(1, 6)
    )
