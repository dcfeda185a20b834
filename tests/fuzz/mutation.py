"""Makes inputs out of good ones: bytes and words moved, values of JSON changed, zips rebuilt."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from readers import Reader, bundle_of

LARGEST = 2**16  # bytes of an input
_MOST_AT_ONCE = 6  # changes of one input
_NUMBER = re.compile(rb"[0-9]+")
_FIGURES = [
    b"0",
    b"-1",
    b"1e309",
    b"9" * 30,
    b"0.1",
    b"2147483648",
    b"18446744073709551616",
    b"1_0",
]
_VALUES: list[Any] = [
    None, True, False, 0, -1, 0.5, 10**18, 10**29, -(10**31), 2**70, 1e300, "", " ", "a", "8GB",
    "-1GB", "x" * 3000, "\ud800", "\0", "\u202e", "a\nb", "\x1b[31m", "in a:1", "<host-1>", [], {},
    "://a:b@c", [None], [[]], {"": None}, {"a.b": 1}, {"*": {}}, ["\ud800"], "20.10", "true", '"',
]  # fmt: skip


class Mutator:
    """Makes inputs for one reader; the same numbers of `random` make the same inputs."""

    def __init__(self, reader: Reader, random: Random) -> None:
        self._random = random
        self._seeds = reader.seeds()
        self._words = reader.words()
        self._changes: Sequence[Callable[[bytes], bytes]] = (
            self._flip, self._drop, self._insert, self._repeat, self._splice, self._word,
            self._word, self._figure, self._line, self._indent, self._cut,
        )  # fmt: skip
        shapes = {"json": self._json, "zip": self._zip}
        self._shaped = shapes.get(reader.kind)

    def inputs(self) -> Iterator[bytes]:
        """Yield the seeds, then inputs without end."""
        yield from self._seeds
        while True:
            yield self.anew()

    def anew(self) -> bytes:
        """Return a good input with one or a few changes."""
        return self.changed(self._random.choice(self._seeds))

    def changed(self, data: bytes) -> bytes:
        """Return an input with one or a few changes more."""
        for _ in range(1 + int(self._random.expovariate(0.8))):
            if self._shaped is not None and self._random.random() < 0.6:
                data = self._shaped(data)
            else:
                data = self._random.choice(self._changes)(data)
        return data[:LARGEST]

    def _place(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes, most: int = 64) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self._random.randint(1, most))

    # --- bytes and words

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._random.randrange(8))]) + data[at + 1 :]

    def _drop(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._random.randbytes(self._random.randint(1, 8)) + data[at:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        times = self._random.choice([2, 2, 2, 3, 10, 100, 2000])
        return data[:end] + data[start:end] * times + data[end:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        start, end = self._span(other, 400)
        at, to = self._span(data)
        return data[:at] + other[start:end] + data[to if self._random.random() < 0.5 else at :]

    def _word(self, data: bytes) -> bytes:
        """Put a word in, in the place of another one where that can be."""
        word = self._random.choice(self._words)
        found = list(re.finditer(rb"[\w.-]+", data[:4096]))
        if found and self._random.random() < 0.7:
            at, to = self._random.choice(found).span()
        else:
            at = to = self._place(data)
        return data[:at] + word + data[to:]

    def _figure(self, data: bytes) -> bytes:
        found = list(_NUMBER.finditer(data[:4096]))
        if not found:
            return data
        at, to = self._random.choice(found).span()
        return data[:at] + self._random.choice(_FIGURES) + data[to:]

    def _line(self, data: bytes) -> bytes:
        """Move, double or drop a line, or take one of another input."""
        lines = data.splitlines(keepends=True) or [b""]
        at = self._random.randrange(len(lines))
        other = self._random.choice(self._seeds).splitlines(keepends=True) or [b""]
        given = self._random.choice([[], [lines[at]] * 2, [self._random.choice(other)]])
        lines[at : at + 1] = given
        if lines and self._random.random() < 0.5:
            self._random.shuffle(lines)
        return b"".join(lines)

    def _indent(self, data: bytes) -> bytes:
        """Nest a part deeper or less deep, as YAML has it."""
        lines = data.split(b"\n")
        start, end = sorted(self._random.randrange(len(lines)) for _ in range(2))
        deeper = self._random.random() < 0.5
        for at in range(start, end + 1):
            lines[at] = b"  " + lines[at] if deeper else lines[at].removeprefix(b"  ")
        return b"\n".join(lines)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    # --- JSON and zips

    def _json(self, data: bytes) -> bytes:
        """Change values and names of a JSON document; what is none is left to the others."""
        try:
            root = [json.loads(data)]
        except (ValueError, RecursionError):
            return self._word(data)
        for _ in range(self._random.randint(1, _MOST_AT_ONCE)):
            places = list(_places(root))
            if len(places) > 1:  # not the root itself, mostly
                places = places[1:]
            self._change(*self._random.choice(places))
        return json.dumps(root[0]).encode()

    def _change(self, node: Any, key: Any) -> None:
        value = json.loads(json.dumps(self._random.choice(_VALUES)))  # later changes are its own
        what = self._random.randrange(5)
        if what == 0:
            del node[key]
            if isinstance(node, list) and not node:
                node.append(None)
        elif what == 1 and isinstance(node, dict):
            node[self._name()] = node.pop(key)
        elif what == 2 and isinstance(node, dict):
            node[self._name()] = value
        elif what == 3:
            node[key] = [node[key]] if self._random.random() < 0.5 else {self._name(): node[key]}
        else:
            node[key] = value

    def _name(self) -> str:
        word = self._random.choice(self._words).decode("utf-8", "replace").strip('"')
        return self._random.choice(["", "\ud800", "a.b", '"', "*", "\n", word, word, word])

    def _zip(self, data: bytes) -> bytes:
        """Change a member and put the bundle together anew, so that its checksums are right."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except Exception:  # noqa: BLE001 - a zip that was bent can fail in many ways
            return self._flip(data)
        members.pop("manifest.json", None)
        if not members:
            return self._flip(data)
        name = self._random.choice(list(members))
        change = self._json if name.endswith(".json") else self._random.choice(self._changes)
        members[name] = change(members[name])
        try:
            return bundle_of(members)
        except (ValueError, UnicodeError, OverflowError):
            return self._flip(data)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the containers of a document with each of their keys."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        for key in list(one) if isinstance(one, dict) else range(len(one)):
            yield one, key
            if isinstance(one[key], dict | list):
                waiting.append(one[key])
