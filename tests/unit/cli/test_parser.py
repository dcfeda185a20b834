"""Words of a command line, and what environment variables add to them."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.cli.parser import Argument, CommandParser
from preflight.model.problems import InputError

OPTIONS = (
    Argument(("--output", "-o"), "FILE", help="A file.", is_file=True),
    Argument(("--set",), "NAME=VALUE", variable="TRY_SET", help="A variable.", is_repeatable=True),
    Argument(("--quiet", "-q"), variable="TRY_QUIET", help="Less."),
    Argument(("--verbose", "-v"), help="More."),
    Argument(
        ("--lines", "-n"), "N", variable="TRY_LINES", default="5", limits=(1, 9), help="Lines."
    ),
    Argument(("--help", "-h"), help="Show this message and exit."),
)
ARGUMENTS = {
    "logs": Argument(("logs",), "[LOG]...", help="Logs.", is_repeatable=True),
    "a": Argument(("a",), "A", help="A name."),
    "b": Argument(("b",), "B", help="B."),
}


def make_parser(*positionals: str, more: tuple[Argument, ...] = ()) -> CommandParser:
    arguments = [*(ARGUMENTS[name] for name in positionals), *OPTIONS, *more]
    return CommandParser("preflight try", "Try it.\n\nExample: preflight try", arguments)


def parse(words: str | list[str], *positionals: str) -> dict[str, Any]:
    parser = make_parser(*positionals)
    arguments = parser.parse(words.split() if isinstance(words, str) else words)
    defaults = {"output": None, "set": [], "quiet": False, "verbose": False, "lines": 5}
    unset = {**defaults, "help": False, "given": set()}
    return {
        name: value for name, value in vars(arguments).items() if value != unset.get(name, "unset")
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a -o x b -q c", {"logs": ["a", "b", "c"], "output": "x", "quiet": True}),
        ("-o -q", {"output": "-q"}),
        ("--output --set --set -o", {"output": "--set", "set": ["-o"]}),
        ("-ox -o=y", {"output": "=y"}),
        ("-qvoy", {"quiet": True, "verbose": True, "output": "y"}),
        ("-qo -v", {"quiet": True, "output": "-v"}),
        ("- -- -q --", {"logs": ["-", "-q", "--"]}),
        ("a -- -q", {"logs": ["a", "-q"]}),
        ("-n 9", {"lines": 9}),
        (["--output=", "--set", "a b"], {"output": "", "set": ["a b"]}),
        (["-o", "", ""], {"output": "", "logs": [""]}),
    ],
)
def test_options_stand_anywhere_and_take_the_next_word(
    words: str | list[str], expected: dict[str, Any]
) -> None:
    parsed = parse(words, "logs")
    parsed.pop("given", None)
    assert parsed == {"logs": [], **expected}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "missing argument 'A'. See: preflight try --help"),
        ("x", "missing argument 'B'. See: preflight try --help"),
        ("x y z", "unexpected argument: z. See: preflight try --help"),
        ("x y --outpt z", "no such option: --outpt, did you mean '--output'? See: preflight try"),
        ("x y --out z", "no such option: --out, did you mean '--output'? See: preflight try"),
        ("x y -qx", "no such option: -x. See: preflight try --help"),
        ("x y -1", "no such option: -1. See: preflight try --help"),
        ("x y -q-v", "option '-q' doesn't take a value"),
        ("x y --quiet=1", "option '--quiet' doesn't take a value"),
        ("x y -o", "option '-o' requires an argument"),
        ("x y -o -- z", "option '-o' requires an argument"),
        ("x y --set=--", "option '--set' requires an argument"),
        ("-- x --", "unexpected argument: --. See: preflight try --help"),
        ("x y -n -3", "--lines -3: expected 1 to 9"),
        ("x y --lines=10", "--lines 10: expected 1 to 9"),
        ("x y -n 1.5", "invalid value for '--lines' / '-n' (env var: 'TRY_LINES'): '1.5' isn't a"),
    ],
)
def test_wrong_words(words: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(words, "a", "b")
    assert str(error.value).startswith(message)


def test_a_variable_stands_in_for_an_option_that_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRY_SET", "a=1  -b ")
    monkeypatch.setenv("TRY_QUIET", " On ")
    monkeypatch.setenv("TRY_LINES", "7")
    assert parse("") == {"set": ["a=1", "-b"], "quiet": True, "lines": 7}
    expected = {"set": ["c"], "quiet": True, "lines": 1, "given": {"set", "lines"}}
    assert parse("--set c -n1") == expected
    monkeypatch.setenv("TRY_QUIET", "0")
    assert "quiet" not in parse("")
    monkeypatch.setenv("TRY_QUIET", "perhaps")
    with pytest.raises(InputError, match="'perhaps' isn't a valid boolean"):
        parse("")
    monkeypatch.setenv("TRY_SET", "a=1 --")
    with pytest.raises(InputError, match="expected a value, found '--'"):
        parse("-q")


def test_help_comes_before_what_is_missing_or_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        parse("-n soon -qh", "a")
    assert ending.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: preflight try [OPTIONS] A\n\n  Try it.\n")


def test_what_follows_the_name_of_a_command_is_its_own() -> None:
    options = [Argument(("--debug",), help="More.")]
    parser = CommandParser("preflight", "All.\n\nExample: preflight a", options, {"a": "First."})
    arguments = parser.parse(["--debug", "a", "--debug", "--", "b"])
    assert (arguments.debug, arguments.words) == (True, ["a", "--debug", "--", "b"])


def test_the_help_fits_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Argument(
        (f"--{'x' * 30}",), "FILE", f"One of {'many words ' * 20}", variable="TRY_LONG", default="d"
    )
    parser = make_parser("logs", more=(long,))
    for columns in (1, 70, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = parser.format_help().splitlines()
        assert max(map(len, lines)) < max(50, min(columns, 100))
        assert f"  --{'x' * 30} FILE" in lines
        assert lines[-1] == "  Example: preflight try"
        note = "[env var: TRY_LONG; default: d]"
        assert sum(note in line for line in lines) == (1 if columns >= 70 else 0)
