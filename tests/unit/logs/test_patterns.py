"""The matcher for expressions that Python's own engine could get lost in finds the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from preflight.model import patterns
from preflight.model.patterns import FLAGS, _Program

ATOMS = st.sampled_from(
    ["a", "b", "[ab]", "(a|b)", "(a|ab)(c|bcd)", "(?P<x>a*)", "(a+)+", r"\b", r"\B", "^", "$",
     "(?:ab)?", "a{1,3}", "a{2,}?", "[^a]", r"\w", r"\D", r"[\W_]", r"\s", r"[^\s]", "(?i:B)",
     "(?-i:B)", ".",
     "(?:a|b)+?", "é", "[à-ü]", r"\Z", r"\A", "(?:a|bc|abd)", "[^b]", "(?:(?P<y>a)b|ac)",
     "(?P<z>a{2,3})"]
)  # fmt: skip
PATTERNS = st.lists(ATOMS, min_size=1, max_size=5).map("".join)
TEXTS = st.text("abcdBéÀ²_ -\n\x1c", min_size=1, max_size=12)  # \B of an empty one: see 3.14
ENDLESS = [r"(a+)+b", r"(a|a)*b", r"(a|aa)+c", r"(.*)*x", r"(\w+\s?)*!", r"a*a*a*a*a*a*a*b",
           r".*.*.*=", r"(?:a?){60}a{60}b", r"(x+x+)+y", r"([a-z]+)*\d",
           r"(?:(?:x|ab)|(?:y|ab))+!", r"(?:a{0,40}){0,35}b", r"(?:a?|a?b?)+c",
           r"(?:a?a)*b", r"(?:a?a){0,40}b"]  # fmt: skip


@settings(max_examples=1500)
@given(PATTERNS, TEXTS, st.sampled_from([FLAGS, 0, re.MULTILINE | re.ASCII, re.DOTALL]))
@example("(a|ab)(c|bcd)(d*)", "abcd", 0)
@example("^a$", "x\na\nx", int(re.MULTILINE))
@example("a$", "a\n", 0)
@example("(?:a|bc|cd)", "xbc", 0)
@example("(?:(?P<y>a)b|ac)", "ac", 0)
@example("(?P<z>a{2,3})", "aaaaa", 0)
@example("(?P<z>(?:ab){2,3}?)", "ababab", 0)
@example("(?P<z>a{1,3}?)b", "aab", 0)
@example("(?P<z>a*?)b", "aab", 0)
@example("[^b]", "B", FLAGS)
@example("(?P<z>[b-d]+)", "abcde", 0)
@example("(?P<z>b?)$", "ab", 0)
@example("(?P<z>b?)$", "a", 0)
@example("^a", "ba", 0)
@example("^a", "ba\na", FLAGS)
@example(r"a\Z", "aba", 0)
@example(r"\ba\b", "ba ab _a a_ a", 0)
@example(r"\ba", "éa", FLAGS)
@example(r"\ba", "éa", 0)
@example("(?:ab|cd|ef)", "EF", FLAGS)
@example("(?-i:a)b", "AB", FLAGS)
@example("(a)b", "AB", FLAGS)
@example("(?i:a)b", "Ab", 0)
@example("É", "é", FLAGS)
@example("É", "é", int(re.IGNORECASE))
@example("é", "É", int(re.IGNORECASE))
def test_both_find_the_same(source: str, text: str, flags: int) -> None:
    try:
        theirs = re.compile(source, flags).search(text)
    except re.error:  # a group's name twice
        with pytest.raises(ValueError, match="no regular expression"):
            patterns.parse(source, int(flags))
        return
    ours = _Program(patterns.parse(source, int(flags))).search(text)
    assert (ours is None) is (theirs is None)
    if theirs is not None and ours is not None:
        assert (ours.start(), ours.groupdict()) == (theirs.start(), theirs.groupdict())


@pytest.mark.parametrize("source", ENDLESS)
def test_none_takes_for_ever(source: str) -> None:
    """Python's own engine would not come back from these within the age of the universe."""
    assert patterns.compiled(source)("a" * 4000) is None
    assert patterns.compiled(source)("a " * 2000) is None


@pytest.mark.parametrize(
    "source",
    [
        *ENDLESS,
        "é*é*é*b",
        r"[^\x00-\x7f]*[^\x00-\x7f]*[^\x00-\x7f]*b",
        r"é*\W*a",
        "a?" * 9 + "a",
        "(?:a*b){0,33}c",
    ],
)
def test_these_are_not_left_to_pythons_own(source: str) -> None:
    assert not _Program(patterns.parse(source)).is_tame()


@pytest.mark.parametrize(
    "source",
    [
        "plain",
        r"a[^)]*\)",
        r"\d+ (?:a|b) \w+:",
        "x.*y",
        r"(?:^|[^p] )out",
        "a{1,3}b?",
        r"[^|]*\| POST +x",
        "a{0,40}b",
        "(?:a*b){0,32}c",
        "a*b?b",
        "\x7f*é*",
        r"\d*é*",
        "a?" * 8 + "a",
    ],
)
def test_these_are(source: str) -> None:
    assert _Program(patterns.parse(source)).is_tame()


@pytest.mark.parametrize(
    "source", [r"(a)\1", "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", "(a)?(?(1)b|c)", "[", "("]
)
def test_what_cannot_be_bounded_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"can take for ever|no regular expression"):
        patterns.compiled(source)


@pytest.mark.parametrize(
    "source",
    [
        "(?:(?:a{60}){60}){60}",
        "(?:(?:a{0,60}){0,60}){0,60}",
        "(?:a{60}){60}",
        "a" * 5001,
        "a{1666,}",
    ],
)
def test_too_large_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        patterns.parse(source)


@pytest.mark.parametrize("source", ["a" * 5000, "a{1665,}", "(?:a{30}){50}"])
def test_just_within_what_is_allowed(source: str) -> None:
    assert len(patterns.parse(source)) > 0
