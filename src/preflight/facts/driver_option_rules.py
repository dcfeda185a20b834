"""Options of drivers whose values Docker refuses: one form of table for logs and networks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

GO_BOOLEAN_PATTERN = "1|t|T|TRUE|true|True|0|f|F|FALSE|false|False"
"""What Go's strconv.ParseBool accepts."""


class DriverOptionRule(NamedTuple):
    """An option, the drivers that read it (none: all of them) and the values that they accept.

    `accepted` is a pattern of the whole value. `message` is what Docker says of any other value:
    {0} is the value and {1} the option.
    """

    drivers: tuple[str, ...]
    option: str
    accepted: str
    message: str


def find_driver_option_refusals(
    rules: Sequence[DriverOptionRule], driver: str, options: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what Docker says of each value that it refuses; an empty value counts as not set."""
    for rule in rules:
        value = str(options.get(rule.option) or "")
        is_read = not rule.drivers or driver in rule.drivers
        if is_read and value and not re.fullmatch(rule.accepted, value):
            yield rule.message.format(value, rule.option)
