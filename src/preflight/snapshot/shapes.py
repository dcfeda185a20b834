"""What secrets look like in text: the shapes of secret_shapes.txt, compiled.

Names of secrets are in model/secrets.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PLACEHOLDER = re.compile(r"<[a-z]+-[1-9][0-9]{0,8}>")

ASSIGNED_VALUE = re.compile(
    r"""\s{0,3}(?:\\?"(?P<double>[^"\\\n]{1,4096})\\?"|'(?P<single>[^'\n]{1,4096})'"""
    r"""|(?P<bare>(?:[^\s"'\\,;&)}\]]|\\(?!["'nrt])){1,4096}))"""
)
"""A value: quoted to its quote, else up to what ends it in JSON, YAML, URLs and shells."""


class Shape(NamedTuple):
    """Where a secret is in a text: in the groups of `pattern`.

    Finished JSON and HTML files are searched for the `distinctive` ones too.
    """

    pattern: re.Pattern[str]
    distinctive: bool


def _read_shapes() -> tuple[Shape, ...]:
    text = Path(__file__).with_name("secret_shapes.txt").read_text("utf-8")
    sections = (section.split("]\n", 1) for section in text.split("\n\n[")[1:])
    return tuple(
        Shape(re.compile(pattern, re.VERBOSE), heading.startswith("distinctive"))
        for heading, pattern in sections
    )


SHAPES = _read_shapes()
