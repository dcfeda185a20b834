"""Every operator, in three values: what holds, what doesn't, and what nobody can tell."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.evaluate.conditions import (
    FactLookup,
    TruthOrUnknown,
    convert_value,
    kleene_and,
    kleene_or,
    meets_condition,
    resolve_operand,
)
from preflight.evaluate.sentences import ComparisonText
from preflight.model.conditions import OPERATORS, Condition, FactBound, SumOfBounds
from preflight.model.facts import Facts, Unit, Unknown
from preflight.model.quantities import parse_version_range

WHY = Unknown("nobody looked", "timeout")


def condition(name: str, operand: Any, unit: Unit) -> Condition:
    return Condition(((OPERATORS[name], operand),), unit)


AT_LEAST_8 = condition("at_least", 8, "number")
BELOW_16 = condition("less_than", 16, "number")

# operator, operand, unit, a value that meets it, one that doesn't, whether an absent one does
TABLE: list[tuple[str, Any, Unit, Any, Any, bool]] = [
    ("at_least", 8, "bytes", 8, 7, False),
    ("at_most", 8, "bytes", 8, 9, False),
    ("more_than", 8, "cores", 8.5, 8, False),
    ("less_than", 8, "seconds", 7.9, 8, False),
    ("equals", "linux", "text", "linux", "Linux", False),
    ("equals", True, "boolean", True, False, False),
    ("not_equals", "linux", "text", "darwin", "linux", False),
    ("one_of", ("a", "b"), "text", "b", "c", False),
    ("none_of", ("a", "b"), "text", "c", "b", False),
    ("matches", "[Mm]icrosoft", "text", "5.15-Microsoft-x", "6.1", False),
    ("matches", "é|Ü", "text", "KÜHL", "kühl", False),  # as it is written, beyond ASCII too
    ("contains", "swap", "text", "no swap limit", "fine", False),
    ("contains", "a", "list", ["a", "b"], ["ab"], False),
    ("version", parse_version_range(">=20.10,<30"), "version", "28.0.1+x", "19.03", False),
    ("version", parse_version_range("!=28,<=29,>1,==3"), "version", "v3.0", "28.0", False),
    ("exists", True, "text", "", None, False),
    ("exists", False, "text", None, "", True),
    ("all_of", (AT_LEAST_8, BELOW_16), "number", 8, 16, False),
    ("any_of", (AT_LEAST_8, condition("equals", 1, "number")), "number", 1, 2, False),
    ("not", AT_LEAST_8, "number", 7, 8, True),
]


@pytest.mark.parametrize(("name", "operand", "unit", "good", "bad", "absent"), TABLE)
def test_an_operator_holds_or_not_and_leaves_the_unknown_unknown(
    name: str, operand: Any, unit: Unit, good: Any, bad: Any, absent: bool
) -> None:
    one, scope = condition(name, operand, unit), FactLookup(Facts({}))
    assert meets_condition(one, good, scope) is True
    assert meets_condition(one, bad, scope) is False
    assert meets_condition(one, None, scope) is absent
    assert meets_condition(one, WHY, scope) is WHY


def test_a_match_that_takes_too_long_is_unknown_and_names_the_pattern() -> None:
    slow = meets_condition(
        condition("matches", "^(a+)+$", "text"), "a" * 50 + "!", FactLookup(Facts({}))
    )
    assert isinstance(slow, Unknown)
    assert "'^(a+)+$' takes too long" in slow.reason


def test_every_operator_has_a_row() -> None:
    assert {row[0] for row in TABLE} == set(OPERATORS)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("bytes", True),
        ("bytes", [8]),
        ("bytes", {"total": 8}),
        ("bytes", "lots"),
        ("bytes", float("nan")),
        ("bytes", float("inf")),
        ("bytes", 10**400),
        ("cores", "four"),
        ("seconds", "soon"),
        ("boolean", 1),
        ("boolean", "maybe"),
        ("text", 5),
        ("text", None),
        ("version", 28),
        ("list", "abc"),
        ("list", {}),
        ("map", []),
    ],
)
def test_a_value_of_the_wrong_type_is_unknown_and_says_so(unit: Unit, value: Any) -> None:
    read = convert_value(value, unit)
    if value is None:
        assert read is None
        return
    assert isinstance(read, Unknown)
    assert read.kind == "invalid"
    assert repr(value)[:60] in read.reason
    assert len(read.reason) < 200
    figures = ComparisonText(value, condition("exists", True, unit), FactLookup(Facts({})))
    assert figures.actual_text  # a wrong value can still be shown


@pytest.mark.parametrize(("name", "operand", "unit", "good", "bad", "absent"), TABLE)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=3,
    )
)
def test_no_value_of_a_snapshot_breaks_an_operator(
    name: str, operand: Any, unit: Unit, good: Any, bad: Any, absent: bool, value: Any
) -> None:
    one, scope = condition(name, operand, unit), FactLookup(Facts({}))
    truth = meets_condition(one, value, scope)
    assert truth is True or truth is False or isinstance(truth, Unknown)
    figures = ComparisonText(value, one, scope)
    assert all(
        isinstance(text, str)
        for text in (figures.actual_text, figures.condition_text.sign, figures.format_shortfall())
    )


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("bytes", "8GiB", 2**33),
        ("seconds", "5m", 300),
        ("number", "4", 4),
        ("cores", "0.5", 0.5),
        ("boolean", "yes", True),
        ("text", "8GiB", "8GiB"),
        ("version", "20.10", "20.10"),
    ],
)
def test_text_is_read_by_the_type_a_rule_gives_it(unit: Unit, text: str, value: Any) -> None:
    assert convert_value(text, unit) == value


@pytest.mark.parametrize(
    ("unit", "value"),
    [("bytes", 8), ("cores", 0.5), ("boolean", False), ("list", ["a"]), ("list", ("a",)),
     ("map", {"a": 1})],
)  # fmt: skip
def test_a_value_of_its_type_stays_as_it_is(unit: Unit, value: Any) -> None:
    assert convert_value(value, unit) is value


def test_a_version_that_is_none_is_unknown() -> None:
    truth = meets_condition(
        condition("version", parse_version_range(">=1"), "text"), "latest", FactLookup(Facts({}))
    )
    assert isinstance(truth, Unknown)
    assert truth.kind == "invalid"
    assert truth.reason.startswith("'latest' isn't a valid version")


# references

FACTS = Facts(
    {
        "host": {"total": 10, "none": None, "word": "x", "figure": "4"},
        "services": {"a.b": {"cpus": 2}},
    },
    unknown={"host.hidden": WHY},
)
TOTAL, NONE, HIDDEN = (FactBound(("host", name)) for name in ("total", "none", "hidden"))


@pytest.mark.parametrize(
    ("operand", "value"),
    [
        (TOTAL, 10),
        (FactBound(("host", "total"), 0.5, 2), 7),
        (FactBound(("host", "total"), 1, -2), 8),
        (SumOfBounds((TOTAL, 2, SumOfBounds((1, 1)))), 14),
        (NONE, None),
        (FactBound(("host", "none"), 0.5), None),
        (FactBound(("host", "hidden"), 0.5), WHY),
        (SumOfBounds((TOTAL, NONE)), None),
        (HIDDEN, WHY),
        (SumOfBounds((NONE, HIDDEN)), WHY),
        (SumOfBounds((TOTAL, FactBound(("host", "figure")))), 14),
        ((1, NONE, 10), (1, None, 10)),
        ((1, HIDDEN, NONE), WHY),
    ],
)
def test_a_bound_may_be_another_fact(operand: Any, value: Any) -> None:
    assert resolve_operand(operand, "number", FactLookup(FACTS)) == value


@pytest.mark.parametrize(
    "operand", [FactBound(("host", "total"), 1e30, 1e30), SumOfBounds((9e29, 9e29))]
)
def test_a_bound_beyond_all_figures_is_unknown(operand: Any) -> None:
    beyond = resolve_operand(operand, "number", FactLookup(FACTS))
    assert isinstance(beyond, Unknown)
    assert beyond.reason.startswith("expected number, found 1")


def test_another_fact_may_be_an_element_of_a_list() -> None:
    one = condition("contains", FactBound(("host", "word")), "list")
    assert meets_condition(one, ["w", "x"], FactLookup(FACTS)) is True
    assert meets_condition(one, ["w", "xx"], FactLookup(FACTS)) is False


def test_a_bound_that_is_absent_is_not_met_and_one_unknown_is_unknown() -> None:
    scope = FactLookup(FACTS)
    assert meets_condition(condition("at_least", NONE, "number"), 10, scope) is False
    assert meets_condition(condition("at_least", HIDDEN, "number"), 10, scope) is WHY
    wrong = meets_condition(condition("at_least", FactBound(("host", "word")), "number"), 10, scope)
    assert isinstance(wrong, Unknown)
    assert wrong.kind == "invalid"
    assert meets_condition(condition("one_of", (1, NONE, 10), "number"), 10, scope) is True
    assert meets_condition(condition("one_of", (1, HIDDEN), "number"), 10, scope) is WHY
    assert meets_condition(condition("one_of", (10, HIDDEN), "number"), 10, scope) is True
    assert meets_condition(condition("none_of", (10, HIDDEN), "number"), 10, scope) is False


def test_a_text_may_be_held_against_another_fact() -> None:
    scope, word = FactLookup(FACTS), FactBound(("host", "word"))
    assert meets_condition(condition("one_of", ("y", word), "text"), "x", scope) is True
    both = Condition(((OPERATORS["exists"], True), (OPERATORS["equals"], word)), "text")
    assert meets_condition(both, "x", scope) is True


def test_a_star_stands_for_the_item_even_with_a_dot_in_its_name() -> None:
    scope = FactLookup(FACTS, "a.b", ("services",))
    assert scope.get(("services", "*", "cpus")) == 2
    assert FactLookup(FACTS).replace_item_segment(("services", "*", "cpus")) == (
        "services",
        "*",
        "cpus",
    )
    assert scope.prepend_item_to_path(("cpus",)) == ("services", "a.b", "cpus")
    assert FactLookup(FACTS).prepend_item_to_path(("cpus",)) is None


# three-valued logic

TRUTHS: list[TruthOrUnknown] = [True, False, WHY]
truths = st.lists(st.sampled_from(TRUTHS), max_size=5)


def value_of(truth: TruthOrUnknown) -> float:
    """Kleene's values: and is the least, or the greatest."""
    return 0.5 if isinstance(truth, Unknown) else float(truth)


@given(truths)
def test_and_is_the_least_and_or_the_greatest(several: list[TruthOrUnknown]) -> None:
    assert value_of(kleene_and(several)) == min(map(value_of, several), default=1)
    assert value_of(kleene_or(several)) == max(map(value_of, several), default=0)


def test_of_several_reasons_the_first_is_told() -> None:
    other = Unknown("it did not say")
    assert kleene_and([True, WHY, True, other]) is WHY
    assert kleene_or([False, WHY, False, other]) is WHY


LEAVES = {
    True: condition("exists", True, "text"),
    False: condition("exists", False, "text"),
    WHY: condition("equals", FactBound(("host", "hidden")), "text"),
}
conditions = st.recursive(
    st.sampled_from(list(LEAVES.values())),
    lambda inner: (
        st.builds(lambda c: condition("not", c, "text"), inner)
        | st.builds(
            lambda name, several: condition(name, tuple(several), "text"),
            st.sampled_from(["all_of", "any_of"]),
            st.lists(inner, min_size=1, max_size=3),
        )
    ),
    max_leaves=8,
)


def truth(one: Condition, facts: Facts = FACTS) -> float:
    return value_of(meets_condition(one, "here", FactLookup(facts)))


@given(conditions, conditions)
def test_de_morgan(a: Condition, b: Condition) -> None:
    def no(one: Condition) -> Condition:
        return condition("not", one, "text")

    both, either = condition("all_of", (a, b), "text"), condition("any_of", (a, b), "text")
    assert truth(no(both)) == truth(condition("any_of", (no(a), no(b)), "text"))
    assert truth(no(either)) == truth(condition("all_of", (no(a), no(b)), "text"))
    assert truth(no(no(a))) == truth(a)
    assert truth(Condition(a.tests + b.tests, "text")) == truth(both)


@given(conditions)
def test_what_is_decided_without_a_figure_stays_so_whatever_the_figure_is(one: Condition) -> None:
    """Unknown never becomes true or false by itself: learning the figure can't overturn."""
    before = truth(one)
    for known in ("here", "elsewhere"):
        after = truth(one, Facts({"host": {"hidden": known}}))
        assert after != 0.5
        assert before in (0.5, after)


def test_all_and_any_over_every_pair() -> None:
    for a, b in itertools.product(TRUTHS, repeat=2):
        assert value_of(kleene_and([a, b])) == value_of(kleene_and([b, a]))
        assert value_of(kleene_or([a, b])) == value_of(kleene_or([b, a]))


# figures

numbers = st.integers(0, 10**15) | st.floats(0, 1e15, allow_nan=False)
QUANTITIES = [name for name, row in OPERATORS.items() if row.shape == "quantity"]


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("unit", ["bytes", "seconds", "cores", "number"])
@given(actual=numbers, expected=numbers, nudge=st.sampled_from([None, -1, 1, 1e-7]))
def test_a_figure_that_misses_its_bound_never_looks_like_it(
    name: str, unit: Unit, actual: float, expected: float, nudge: float | None
) -> None:
    if nudge is not None:
        actual = max(0, expected + nudge)
    one = condition(name, expected, unit)
    figures = ComparisonText(actual, one, FactLookup(Facts({})))
    sign = OPERATORS[name].sign
    assert figures.condition_text.sign.startswith(sign)
    if actual != expected:
        assert figures.actual_text != figures.condition_text.sign.removeprefix(sign)
        assert figures.actual_text != figures.format_bound_without_operator()
    if meets_condition(one, actual, FactLookup(Facts({}))) is False and actual != expected:
        assert figures.format_shortfall().lstrip("0.")[:1].isdigit()  # never "0 B short"


@pytest.mark.parametrize(
    ("actual", "expected", "found", "asked", "short"),
    [
        (7_900_000_000, 8_000_000_000, "7.4 GiB", "≥ 8 GB (7.5 GiB)", "95.4 MiB"),
        (7_999_999_999, 8_000_000_000, "7.450580596 GiB", "≥ 8 GB (7.450580597 GiB)", "1 B"),
        (8_000_000_000, 8_040_000_000, "7.45 GiB", "≥ 8.04 GB (7.49 GiB)", "38.2 MiB"),
        (6_227_702_579, 2**33, "5.8 GiB", "≥ 8 GiB", "2.2 GiB"),
        (0, 8_000_000_000, "0 B", "≥ 8 GB (7.5 GiB)", "7.5 GiB"),
        (512, 8_000_000_000, "512 B", "≥ 8 GB (7.5 GiB)", "7.5 GiB"),
        (None, 8_000_000_000, "not set", "≥ 8 GB (7.5 GiB)", ""),
        (WHY, 8_000_000_000, "unknown", "≥ 8 GB (7.5 GiB)", ""),
    ],
)
def test_figures_of_a_size(actual: Any, expected: int, found: str, asked: str, short: str) -> None:
    figures = ComparisonText(
        actual, condition("at_least", expected, "bytes"), FactLookup(Facts({}))
    )
    assert (figures.actual_text, figures.condition_text.sign, figures.format_shortfall()) == (
        found,
        asked,
        short,
    )


def test_a_long_text_is_cut_in_a_sentence() -> None:
    exists = condition("exists", True, "text")
    for text, found in (("x" * 200, "x" * 200), ("x" * 201, "x" * 199 + "…")):
        assert ComparisonText(text, exists, FactLookup(FACTS)).actual_text == found


@pytest.mark.parametrize(
    ("operand", "wanted", "expected"),
    [
        (TOTAL, "at least 10", "10"),
        (NONE, "at least host.none (not set)", ""),
        (HIDDEN, "at least host.hidden (unknown)", ""),
        (SumOfBounds((TOTAL, 0.5)), "at least 10.5", "10.5"),
    ],
)
def test_a_bound_that_is_not_there_is_named(operand: Any, wanted: str, expected: str) -> None:
    figures = ComparisonText(4, condition("at_least", operand, "number"), FactLookup(FACTS))
    assert (figures.condition_text.phrase, figures.format_bound_without_operator()) == (
        wanted,
        expected,
    )


@pytest.mark.parametrize(
    ("name", "operand", "unit", "words"),
    [
        ("at_most", 4, "cores", "at most 4"),
        ("more_than", 300, "seconds", "more than 5m"),
        ("one_of", ("a", "b"), "text", "a or b"),
        ("none_of", ("a", "b"), "text", "not a or b"),
        ("matches", "^a", "text", "matching ^a"),
        ("version", parse_version_range(">=20.10,<30"), "version", ">=20.10,<30"),
        ("exists", True, "text", "set"),
        ("exists", False, "text", "not set"),
        ("all_of", (AT_LEAST_8, BELOW_16), "number", "at least 8 and less than 16"),
        ("any_of", (AT_LEAST_8, BELOW_16), "number", "at least 8 or less than 16"),
        ("not", AT_LEAST_8, "number", "not at least 8"),
    ],
)
def test_a_condition_in_words(name: str, operand: Any, unit: Unit, words: str) -> None:
    assert (
        ComparisonText(
            None, condition(name, operand, unit), FactLookup(FACTS)
        ).condition_text.phrase
        == words
    )
