"""The parser of a command line: argparse, with options anywhere, and set by variables.

Its errors and its help have words and a layout of their own, the same with every Python. It knows
no command.
"""

import argparse
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from preflight.cli import streams
from preflight.model.problems import InputError, did_you_mean

_MIN_HELP_COLUMNS, _MAX_HELP_COLUMNS = 50, 100
_MAX_NAME_COLUMNS = 26  # of an option or command, beside its meaning
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class _ArgumentTraits(NamedTuple):
    """What argparse doesn't know of an option or argument."""

    variable: str = ""  # of the environment
    is_file: bool = False
    is_repeatable: bool = False
    complete: Callable[[], Iterable[str]] = tuple  # nothing is known


class CommandParser(argparse.ArgumentParser):
    """Parses what follows the name of a command: options and arguments, or another command.

    The last paragraph of `description` is an example. `commands` are those that may follow, by
    name, with a line about each.
    """

    def __init__(
        self, prog: str, description: str, commands: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(
            prog,
            description=description,
            formatter_class=partial(argparse.HelpFormatter, width=80),  # else it imports shutil
            allow_abbrev=False,
            add_help=False,
        )
        self.commands = commands or {}
        self._traits: dict[str, _ArgumentTraits] = defaultdict(_ArgumentTraits)  # by destination
        if commands:
            self.add_argument("words", nargs="*", default=[], metavar="COMMAND [ARGS]...")

    def add_option(
        self,
        usage: str,
        *,
        help: str,
        type: Callable[[str], Any] = str,
        repeatable: bool = False,
        complete: Callable[[], Iterable[str]] = tuple,
        **more: Any,
    ) -> None:
        """Add an option by its names, its value, and its variable: `--rules -r FILE $VARIABLE`.

        One without a value is a flag. The filesystem of a FILE is asked first.
        """
        words = usage.split()
        names = [word for word in words if word.startswith("-")]
        metavar = next((word for word in words if word[0] not in "-$"), None)
        variable = next((word[1:] for word in words if word[0] == "$"), "")
        if metavar is None:
            action = self.add_argument(*names, help=help, **{"action": "store_true", **more})
        else:
            if repeatable:
                help, more = f"{help} Repeatable.", {"action": "append", "default": [], **more}
            action = self.add_argument(*names, metavar=metavar, help=help, **more)
            action.type = self._make_converter(action, type)
        self._traits[action.dest] = _ArgumentTraits(
            variable, metavar == "FILE", repeatable, complete
        )

    def add_positional(
        self,
        name: str,
        *,
        help: str,
        is_file: bool = False,
        complete: Callable[[], Iterable[str]] = tuple,
        **more: Any,
    ) -> None:
        """Add an argument without a name; `is_file`: one whose filesystem is asked first."""
        action = self.add_argument(name, help=help, **more)
        action.type = self._make_converter(action, str)
        self._traits[action.dest] = _ArgumentTraits(is_file=is_file, complete=complete)

    def _make_converter(
        self, action: argparse.Action, convert: Callable[[str], Any]
    ) -> Callable[[str], Any]:
        """Return a function that reads a value; it raises InputError with the option's names."""

        def read(text: str) -> Any:
            if action.choices is not None and text not in action.choices:
                choices = [*action.choices]
                hint = did_you_mean(text, choices)
                problem = f"{text!r} is not one of {', '.join(map(repr, choices))}{hint}"
                raise self._make_invalid_value_error(action, problem)
            try:
                return convert(text)
            except ValueError:
                number = "a whole number" if convert is int else "a number"
                raise self._make_invalid_value_error(action, f"{text!r} isn't {number}") from None

        return read

    # --- parsing --------------------------------------------------------------------------------

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse words; raises InputError, and SystemExit after help.

        `given` in the result has the destinations of the options that the words have: neither
        variables nor defaults.
        """
        options, others = self.sort_words(words)
        given = {action.dest for action, _ in options}
        if "help" in given:  # whatever else is wrong
            streams.write_output(self.format_help())
            raise SystemExit(0)
        self._check_count(given, others)
        options = [*self._read_variables(given), *options]
        texts = [_join_option(action, value) for action, value in options]
        texts += ["--", *others] if others else []
        arguments = self.parse_args(texts)
        arguments.given = given
        for name, traits in self._traits.items():
            if traits.is_file:
                streams.check_filesystems_respond(getattr(arguments, name))
        return arguments

    def sort_words(
        self, words: Sequence[str]
    ) -> tuple[list[tuple[argparse.Action, str]], list[str]]:
        """Return the options with their values, and the other words; raises InputError.

        For argparse a value that begins with a dash would be an option, and an option would end
        the list of arguments before it.
        """
        options: list[tuple[argparse.Action, str]] = []
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
            action = self._option_string_actions.get(name)
            if action is None:
                raise self._make_unknown_option_error(name)
            if action.nargs == 0 and has_value:
                if is_long or value.startswith("-"):
                    raise InputError(f"option {name!r} does not take a value")
                rest.appendleft(f"-{value}")  # -qv is -q -v
            elif action.nargs != 0 and not has_value:
                value = rest.popleft() if rest else "--"
            if value == "--":  # argparse would lose it before Python 3.13
                raise InputError(f"option {name!r} requires an argument")
            options.append((action, value))
        return options, [*others, *rest]

    def _read_variables(self, given: set[str]) -> Iterator[tuple[argparse.Action, str]]:
        """Yield the options that environment variables set, and the command line doesn't."""
        for action in self._actions:
            traits = self._traits[action.dest]
            value = os.environ.get(traits.variable)
            if not value or action.dest in given:
                continue
            if action.nargs != 0:
                parts = value.split() if traits.is_repeatable else [value]
                if "--" in parts:
                    raise self._make_invalid_value_error(action, "'--' isn't a value")
                yield from ((action, part) for part in parts)
                continue
            from preflight.model.quantities import parse_boolean  # help needs none

            try:
                if value.strip() and parse_boolean(value):
                    yield action, ""
            except ValueError:
                problem = f"{value!r} is not a valid boolean: expected one such as 1 or 0"
                raise self._make_invalid_value_error(action, problem) from None

    def _check_count(self, given: set[str], others: Sequence[str]) -> None:
        """Raise InputError if something is missing, or is too much."""
        for action in self._actions:
            if action.option_strings and action.required and action.dest not in given:
                raise self.make_usage_error(f"missing option {self._format_argument_name(action)}")
        positionals = self.positionals
        if any(action.nargs == "*" for action in positionals):
            return
        if missing := positionals[len(others) :]:
            raise self.make_usage_error(
                f"missing argument {self._format_argument_name(missing[0])}"
            )
        if extra := others[len(positionals) :] or {"--"}.intersection(others):
            raise self.make_usage_error(f"got unexpected extra argument(s) ({' '.join(extra)})")

    # --- errors ---------------------------------------------------------------------------------

    def error(self, message: str) -> NoReturn:
        """Raise what argparse itself finds wrong."""
        raise self.make_usage_error(message)

    def make_usage_error(self, message: str) -> InputError:
        """Return an error that names the help of this command."""
        return InputError(f"{message}{'' if message[-1] == '?' else '.'} See: {self.prog} --help")

    def _make_invalid_value_error(self, action: argparse.Action, problem: str) -> InputError:
        return self.make_usage_error(
            f"invalid value for {self._format_argument_name(action)}: {problem}"
        )

    def _make_unknown_option_error(self, name: str) -> InputError:
        from preflight.render import FORMATS

        message, known = f"no such option: {name}", [*self._option_string_actions]
        if name.removeprefix("--") in FORMATS and "-f" in known:
            known.append(name := f"-f {name.removeprefix('--')}")
        return self.make_usage_error(message + did_you_mean(name, known))

    def _format_argument_name(self, action: argparse.Action) -> str:
        """Return the names of an option, or an argument's, as errors have them."""
        names = " / ".join(map(repr, action.option_strings)) or repr(action.metavar)
        variable = self._traits[action.dest].variable
        return f"{names} (env var: {variable!r})" if variable else names

    # --- completion and help --------------------------------------------------------------------

    @property
    def positionals(self) -> list[argparse.Action]:
        """The arguments without a name, in their order."""
        return [action for action in self._actions if not action.option_strings]

    @property
    def options(self) -> list[argparse.Action]:
        """The options, in their order."""
        return [action for action in self._actions if action.option_strings]

    def find_option(self, name: str) -> argparse.Action | None:
        """Return the option with this name, if there is one."""
        return self._option_string_actions.get(name)

    def list_values(self, action: argparse.Action) -> Iterable[str]:
        """Return the values that are known for an option or argument."""
        return action.choices or self._traits[action.dest].complete()

    def format_help(self) -> str:
        """Return usage, description, arguments, options, commands and an example."""
        import textwrap

        columns = streams.count_terminal_columns()
        width = max(_MIN_HELP_COLUMNS, min(columns, _MAX_HELP_COLUMNS)) - 1
        names = " ".join(str(action.metavar) for action in self.positionals)
        lines = [f"Usage: {self.prog} [OPTIONS] {names}".rstrip(), ""]
        summary, _, details = (self.description or "").partition("\n")
        *paragraphs, example = f"{summary}\n{textwrap.dedent(details)}".strip().split("\n\n")
        for paragraph in paragraphs:
            is_verbatim = paragraph.startswith(" ")
            text = paragraph if is_verbatim else textwrap.fill(paragraph, width - 2)
            lines += [textwrap.indent(text, "  "), ""]
        arguments = [(str(action.metavar), action.help or "") for action in self.positionals]
        sections = {
            "Arguments": [] if self.commands else arguments,
            "Options": [*map(self._describe_option, self.options)],
            "Commands": [*self.commands.items()],
        }
        for title, rows in sections.items():
            if rows:
                lines += [f"{title}:", *_format_rows(rows, width), ""]
        return "\n".join([*lines, f"  {example}", ""])

    def _describe_option(self, action: argparse.Action) -> tuple[str, str]:
        """Return an option's names, and its help with its variable and default."""
        names = ", ".join(sorted(action.option_strings, key=len))
        variable = self._traits[action.dest].variable
        notes = [f"env var: {variable}"] if variable else []
        if action.default and action.nargs != 0:
            notes.append(f"default: {action.default}")
        if action.required:
            notes.append("required")
        note = f" [{'; '.join(notes).replace(' ', _NO_BREAK_SPACE)}]" if notes else ""
        metavar = f" {action.metavar}" if action.metavar else ""
        return names + metavar, f"{action.help}{note}"


def _join_option(action: argparse.Action, value: str) -> str:
    name = action.option_strings[0]
    return name if action.nargs == 0 else f"{name}={value}"


def _format_rows(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
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
