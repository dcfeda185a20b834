"""Values in the answers of engines and in compose files, which may have any shape.

A key is a dotted path of mappings, so that no name in it may have a dot. A value of another type
than expected counts as missing.
"""

from collections.abc import Mapping
from typing import Any

from preflight.model.facts import Unknown


def get_nested_value(value: Any, key: str) -> Any:
    """Return what is there, or None if nothing is."""
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def get_nested_object(value: Any, key: str) -> Mapping[str, Any]:
    """Return the mapping that is there, or an empty one."""
    found = get_nested_value(value, key)
    return found if isinstance(found, Mapping) else {}


def get_nested_list(value: Any, key: str) -> list[Any]:
    """Return the list that is there, or an empty one."""
    found = get_nested_value(value, key)
    return found if isinstance(found, list) else []


def get_nested_text(value: Any, key: str) -> str | None:
    """Return the string that is there, or None if it is empty or can't be a name."""
    return text_or_none(get_nested_value(value, key))


def get_nested_whole_number(value: Any, key: str) -> int | None:
    """Return the whole number from 0 on that is there and that 64 bits hold, as in Go, or None."""
    return whole_number_or_none(get_nested_value(value, key))


def text_or_none(value: Any) -> str | None:
    """Return the value if it is a non-empty string that can be a name, else None."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    # JSON can have half a character, but no path and no request can
    is_name = value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value if is_name else None


def whole_number_or_none(value: Any) -> int | None:
    """Return the value if it is a whole number from 0 on that 64 bits hold, as in Go, else None."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and 0 <= value < 2**64 else None


def value_or_unreported(value: Any, key: str) -> Any:
    """Return the value, or an Unknown in place of None."""
    return make_unreported_unknown(key) if value is None else value


def make_unreported_unknown(key: str) -> Unknown:
    """Return the Unknown for a key of which the engine reports nothing useful."""
    return Unknown(f"the engine doesn't report this value: {key} is zero, null, or missing")
