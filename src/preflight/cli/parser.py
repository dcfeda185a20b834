"""The parser of a command line: options anywhere, and set by variables; its errors and its help.

It knows no command. Beside argparse as much code would be needed for options that stand anywhere,
that variables set, or whose values begin with a dash; and a start would take 5 ms more.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from preflight.cli import streams
from preflight.model.problems import InputError, did_you_mean

_MIN_HELP_COLUMNS, _MAX_HELP_COLUMNS = 50, 100
_MAX_NAME_COLUMNS = 26  # of an option or command, beside its meaning
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class ParsedArguments(SimpleNamespace):
    """The values of a command line, by the names of options and arguments.

    `given` are the names of the options that the words have: neither variables nor defaults.
    """


class Argument(NamedTuple):
    """An option, whose names begin with `-`, or an argument, whose name is that of its value.

    A flag has no `metavar`; one such as `text|json` lists the choices. `default` is text, as on a
    command line; `limits` are those of a number. The filesystem of a file is asked first.
    """

    names: tuple[str, ...]
    metavar: str = ""
    help: str = ""
    variable: str = ""  # of the environment
    default: str | None = None
    limits: tuple[int, int] | None = None
    is_file: bool = False
    is_required: bool = False
    is_repeatable: bool = False

    @property
    def name(self) -> str:
        """The name of its value: that of an option is its longest without dashes."""
        return max(self.names, key=len).strip("-").replace("-", "_")

    @property
    def is_option(self) -> bool:
        """Whether it is an option."""
        return self.names[0].startswith("-")

    @property
    def choices(self) -> list[str]:
        """The values of one such as `text|json`; none if it takes any text."""
        is_choice = "|" in self.metavar and self.metavar.islower()
        return self.metavar.split("|") if is_choice else []

    @property
    def display_names(self) -> str:
        """The names of an option, or an argument's, as errors have them."""
        title = " / ".join(map(repr, self.names)) if self.is_option else repr(self.metavar)
        return f"{title} (env var: {self.variable!r})" if self.variable else title


class CommandSyntax(NamedTuple):
    """What a command takes. The last paragraph of its description is an example."""

    description: str
    arguments: tuple[Argument, ...] = ()


class CommandParser:
    """Parses what follows the name of a command: options and arguments, or another command.

    The last paragraph of `description` is an example. `commands` are those that may follow, by
    name, with a line about each. `converters` read the values of arguments by their names.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        arguments: Sequence[Argument],
        commands: Mapping[str, str] | None = None,
        converters: Mapping[str, Callable[[str], Any]] | None = None,
    ) -> None:
        self.prog = prog
        self.description = description
        self.commands = commands or {}
        self.options = [argument for argument in arguments if argument.is_option]
        self.positionals = [argument for argument in arguments if not argument.is_option]
        if commands:
            words = "COMMAND [ARGS]..."
            self.positionals = [Argument(("words",), words, is_repeatable=True)]
        self._converters = converters or {}
        self.option_by_name = {name: option for option in self.options for name in option.names}

    # --- parsing --------------------------------------------------------------------------------

    def parse(self, words: Sequence[str]) -> ParsedArguments:
        """Parse words; raises InputError, and SystemExit after help."""
        options, others = self.separate_options_from_words(words)
        given = {option.name for option, _ in options}
        if "help" in given:  # whatever else is wrong
            streams.write_stdout(self.format_help())
            raise SystemExit(0)
        self._check_argument_count(given, others)
        arguments = [*self.options, *self.positionals]
        values: dict[str, Any] = {
            argument.name: [] if argument.is_repeatable else None if argument.metavar else False
            for argument in arguments
        }
        # the last argument takes all the words that are left
        positionals = (*self.positionals, *self.positionals[-1:] * len(others))
        for argument, text in (
            *((option, option.default) for option in self.options if option.default),
            *self._read_environment_variables(given),
            *options,
            *zip(positionals, others, strict=False),
        ):
            value = self._convert_value(argument, text) if argument.metavar else True
            if argument.is_repeatable:
                values[argument.name].append(value)
            else:
                values[argument.name] = value
        for argument in arguments:
            if argument.is_file:
                streams.check_filesystems_respond(values[argument.name])
        return ParsedArguments(**values, given=given)

    def separate_options_from_words(
        self, words: Sequence[str]
    ) -> tuple[list[tuple[Argument, str]], list[str]]:
        """Return the options with their values, and the other words; raises InputError."""
        options: list[tuple[Argument, str]] = []
        others: list[str] = []
        rest = deque(words)
        while rest:
            word = rest.popleft()
            if word == "--":
                break
            if word == "-" or not word.startswith("-"):
                others.append(word)
                if self.commands:
                    break  # the rest is the command's
                continue
            is_long = word.startswith("--")
            if is_long:
                name, has_value, value = word.partition("=")
            else:
                name, value = word[:2], word[2:]
                has_value = value
            option = self.option_by_name.get(name)
            if option is None:
                raise self._make_unknown_option_error(name)
            if not option.metavar and has_value:
                if is_long or value.startswith("-"):
                    raise InputError(f"option {name!r} doesn't take a value")
                rest.appendleft(f"-{value}")  # -qv is -q -v
            elif option.metavar and not has_value:
                value = rest.popleft() if rest else "--"
            if value == "--":
                raise InputError(f"option {name!r} requires an argument")
            options.append((option, value))
        return options, [*others, *rest]

    def _read_environment_variables(self, given: set[str]) -> Iterator[tuple[Argument, str]]:
        """Yield the options that environment variables set, and the command line doesn't."""
        for option in self.options:
            value = os.environ.get(option.variable)
            if not value or option.name in given:
                continue
            if option.metavar:
                parts = value.split() if option.is_repeatable else [value]
                if "--" in parts:
                    raise self._make_invalid_value_error(option, "expected a value, found '--'")
                yield from ((option, part) for part in parts)
                continue
            from preflight.model.quantities import parse_boolean  # help needs none

            try:
                if value.strip() and parse_boolean(value):
                    yield option, ""
            except ValueError:
                problem = f"{value!r} isn't a valid boolean: expected a value such as 1 or 0"
                raise self._make_invalid_value_error(option, problem) from None

    def _check_argument_count(self, given: set[str], others: Sequence[str]) -> None:
        """Raise InputError if something is missing, or is too much."""
        for option in self.options:
            if option.is_required and option.name not in given:
                raise self.make_usage_error(f"missing option {option.display_names}")
        if any(argument.is_repeatable for argument in self.positionals):
            return
        if missing := self.positionals[len(others) :]:
            raise self.make_usage_error(f"missing argument {missing[0].display_names}")
        if extra := others[len(self.positionals) :] or {"--"}.intersection(others):
            raise self.make_usage_error(f"unexpected argument: {' '.join(extra)}")

    def _convert_value(self, argument: Argument, text: str) -> Any:
        """Return a value; raises InputError with the names of the argument."""
        if argument.choices and text not in argument.choices:
            hint = did_you_mean(text, argument.choices)
            problem = f"{text!r} isn't one of {', '.join(map(repr, argument.choices))}{hint}"
            raise self._make_invalid_value_error(argument, problem)
        is_count = argument.metavar == "N"
        try:
            if argument.limits is None:
                return self._converters.get(argument.name, str)(text)
            number = int(text) if is_count else float(text)
        except ValueError:
            problem = f"{text!r} isn't {'a whole number' if is_count else 'a number'}"
            raise self._make_invalid_value_error(argument, problem) from None
        low, high = argument.limits
        if not low <= number <= high:
            shown, unit = (number, "") if is_count else (f"{number:g}", " seconds")
            raise InputError(f"{argument.names[0]} {shown}: expected {low} to {high}{unit}")
        return number

    # --- errors ---------------------------------------------------------------------------------

    def make_usage_error(self, message: str) -> InputError:
        """Return an error that names the help of this command."""
        return InputError(f"{message}{'' if message[-1] == '?' else '.'} See: {self.prog} --help")

    def _make_invalid_value_error(self, argument: Argument, problem: str) -> InputError:
        return self.make_usage_error(f"invalid value for {argument.display_names}: {problem}")

    def _make_unknown_option_error(self, name: str) -> InputError:
        from preflight.render import FORMATS

        message, known = f"no such option: {name}", [*self.option_by_name]
        if name.removeprefix("--") in FORMATS and "-f" in known:
            known.append(name := f"-f {name.removeprefix('--')}")
        return self.make_usage_error(message + did_you_mean(name, known))

    # --- help -----------------------------------------------------------------------------------

    def format_help(self) -> str:
        """Return usage, description, arguments, options, commands and an example."""
        import textwrap

        columns = streams.get_terminal_columns()
        width = max(_MIN_HELP_COLUMNS, min(columns, _MAX_HELP_COLUMNS)) - 1
        names = " ".join(argument.metavar for argument in self.positionals)
        lines = [f"Usage: {self.prog} [OPTIONS] {names}".rstrip(), ""]
        *paragraphs, example = self.description.split("\n\n")
        for paragraph in paragraphs:
            is_verbatim = paragraph.startswith(" ")
            text = paragraph if is_verbatim else textwrap.fill(paragraph, width - 2)
            lines += [textwrap.indent(text, "  "), ""]
        sections = {
            "Arguments": [(a.metavar, a.help) for a in self.positionals if not self.commands],
            "Options": [*map(_format_option_help, self.options)],
            "Commands": [*self.commands.items()],
        }
        for title, rows in sections.items():
            if rows:
                lines += [f"{title}:", *_format_two_columns(rows, width), ""]
        return "\n".join([*lines, f"  {example}", ""])


def _format_option_help(option: Argument) -> tuple[str, str]:
    """Return an option's names, and its help with its variable and default."""
    names = f"{', '.join(sorted(option.names, key=len))} {option.metavar}".rstrip()
    notes = [f"env var: {option.variable}"] if option.variable else []
    notes += [f"default: {option.default}"] if option.default else []
    notes += ["required"] if option.is_required else []
    note = f" [{'; '.join(notes).replace(' ', _NO_BREAK_SPACE)}]" if notes else ""
    repeatable = " Repeatable." if option.is_repeatable else ""
    return names, f"{option.help}{repeatable}{note}"


def _format_two_columns(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield lines of two columns; a name that is too long has a line of its own."""
    import textwrap

    rows = [*rows]
    column = min(max(len(name) for name, _ in rows), _MAX_NAME_COLUMNS) + 4
    for name, text in rows:
        first, *others = textwrap.wrap(text, width - column, break_on_hyphens=False) or [""]
        is_long = len(name) + 4 > column
        yield from [f"  {name}"] * is_long
        yield f"  {'' if is_long else name}".ljust(column) + first.replace(_NO_BREAK_SPACE, " ")
        yield from (" " * column + line.replace(_NO_BREAK_SPACE, " ") for line in others)
