"""Rules within a compose file: the content of its `x-preflight:`, which Compose ignores."""

from __future__ import annotations

import re

from preflight.model.problems import InputError
from preflight.model.rules import EMBEDDED_RULES_KEY
from preflight.yaml_reader import (
    Mapping,
    Scalar,
    is_null_node,
    make_problem_at_node,
    parse_yaml_document,
)

_UTF_8_BOM = b"\xef\xbb\xbf"


def extract_embedded_rules(data: bytes, name: str) -> bytes | None:
    """Return a compose file's rules at their lines and columns; None if it has none.

    All else is blank: secrets in the file go no further. Raises InputError if the key is empty.
    """
    if EMBEDDED_RULES_KEY not in data:
        return None
    data = data.removeprefix(_UTF_8_BOM)
    try:
        text, root = data.decode(), parse_yaml_document(data, name)
    except (InputError, UnicodeDecodeError):
        return None  # whoever reads the compose file says so
    for key, value in root.value if root.__class__ is Mapping else ():
        if key.__class__ is Scalar and key.value.encode() == EMBEDDED_RULES_KEY:
            if is_null_node(value):
                raise InputError(
                    make_problem_at_node(key, "x-preflight is empty; a rule file is expected")
                )
            start, end = value.start_mark.index, value.end_mark.index
            return (re.sub(r"[^\r\n]", " ", text[:start]) + text[start:end]).encode()
    return None
