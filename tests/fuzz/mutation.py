"""Mutates valid inputs: bytes, words and lines, values of JSON documents, members of zips."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from readers import Reader, make_bundle

MAX_INPUT_BYTES = 2**16
_MAX_JSON_CHANGES = 6  # of one input at once
_NUMBER = re.compile(rb"[0-9]+")
_NUMBERS = [
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
    """Makes inputs for one reader; the same seed of `random` makes the same inputs."""

    def __init__(self, reader: Reader, random: Random) -> None:
        self._random = random
        self._seeds = reader.seeds()
        self._words = reader.words()
        self._byte_mutations: Sequence[Callable[[bytes], bytes]] = (
            self._flip_bit, self._remove_bytes, self._insert_bytes, self._repeat_bytes,
            self._splice_inputs, self._add_word, self._add_word, self._replace_number,
            self._change_lines, self._indent_lines, self._truncate,
        )  # fmt: skip
        structured = {"json": self._mutate_json, "zip": self._mutate_zip}
        self._mutate_structure = structured.get(reader.kind)

    def inputs(self) -> Iterator[bytes]:
        """Yield the seeds, then mutated ones without end."""
        yield from self._seeds
        while True:
            yield self.make_input()

    def make_input(self) -> bytes:
        """Return a seed with one or a few mutations."""
        return self.mutate(self._random.choice(self._seeds))

    def mutate(self, data: bytes) -> bytes:
        """Return an input with one or a few more mutations."""
        for _ in range(1 + int(self._random.expovariate(0.8))):
            if self._mutate_structure is not None and self._random.random() < 0.6:
                data = self._mutate_structure(data)
            else:
                data = self._random.choice(self._byte_mutations)(data)
        return data[:MAX_INPUT_BYTES]

    def _choose_position(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _choose_span(self, data: bytes, max_bytes: int = 64) -> tuple[int, int]:
        start = self._choose_position(data)
        return start, min(len(data), start + self._random.randint(1, max_bytes))

    # --- bytes and words

    def _flip_bit(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._random.randrange(8))]) + data[at + 1 :]

    def _remove_bytes(self, data: bytes) -> bytes:
        start, end = self._choose_span(data)
        return data[:start] + data[end:]

    def _insert_bytes(self, data: bytes) -> bytes:
        at = self._choose_position(data)
        return data[:at] + self._random.randbytes(self._random.randint(1, 8)) + data[at:]

    def _repeat_bytes(self, data: bytes) -> bytes:
        start, end = self._choose_span(data)
        times = self._random.choice([2, 2, 2, 3, 10, 100, 2000])
        return data[:end] + data[start:end] * times + data[end:]

    def _splice_inputs(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        start, end = self._choose_span(other, 400)
        at, to = self._choose_span(data)
        return data[:at] + other[start:end] + data[to if self._random.random() < 0.5 else at :]

    def _add_word(self, data: bytes) -> bytes:
        """Insert a word, mostly in place of another one."""
        word = self._random.choice(self._words)
        words = list(re.finditer(rb"[\w.-]+", data[:4096]))
        if words and self._random.random() < 0.7:
            at, to = self._random.choice(words).span()
        else:
            at = to = self._choose_position(data)
        return data[:at] + word + data[to:]

    def _replace_number(self, data: bytes) -> bytes:
        numbers = list(_NUMBER.finditer(data[:4096]))
        if not numbers:
            return data
        at, to = self._random.choice(numbers).span()
        return data[:at] + self._random.choice(_NUMBERS) + data[to:]

    def _change_lines(self, data: bytes) -> bytes:
        """Remove or double a line, or replace it by one of another input; maybe shuffle all."""
        lines = data.splitlines(keepends=True) or [b""]
        at = self._random.randrange(len(lines))
        other = self._random.choice(self._seeds).splitlines(keepends=True) or [b""]
        replacements = [[], [lines[at]] * 2, [self._random.choice(other)]]
        lines[at : at + 1] = self._random.choice(replacements)
        if lines and self._random.random() < 0.5:
            self._random.shuffle(lines)
        return b"".join(lines)

    def _indent_lines(self, data: bytes) -> bytes:
        """Indent or dedent some lines, which nests YAML deeper or less deep."""
        lines = data.split(b"\n")
        start, end = sorted(self._random.randrange(len(lines)) for _ in range(2))
        indents = self._random.random() < 0.5
        for at in range(start, end + 1):
            lines[at] = b"  " + lines[at] if indents else lines[at].removeprefix(b"  ")
        return b"\n".join(lines)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._choose_position(data)]

    # --- JSON and zips

    def _mutate_json(self, data: bytes) -> bytes:
        """Change values and names of a JSON document; mutate anything else as bytes."""
        try:
            root = [json.loads(data)]
        except (ValueError, RecursionError):
            return self._add_word(data)
        for _ in range(self._random.randint(1, _MAX_JSON_CHANGES)):
            entries = list(_walk_entries(root))
            if len(entries) > 1:  # the first is the root
                entries = entries[1:]
            self._change_entry(*self._random.choice(entries))
        return json.dumps(root[0]).encode()

    def _change_entry(self, node: Any, key: Any) -> None:
        value = json.loads(
            json.dumps(self._random.choice(_VALUES))
        )  # a copy, which later changes may alter
        kind = self._random.randrange(5)
        if kind == 0:
            del node[key]
            if isinstance(node, list) and not node:
                node.append(None)
        elif kind == 1 and isinstance(node, dict):
            node[self._choose_name()] = node.pop(key)
        elif kind == 2 and isinstance(node, dict):
            node[self._choose_name()] = value
        elif kind == 3:
            node[key] = (
                [node[key]] if self._random.random() < 0.5 else {self._choose_name(): node[key]}
            )
        else:
            node[key] = value

    def _choose_name(self) -> str:
        word = self._random.choice(self._words).decode("utf-8", "replace").strip('"')
        return self._random.choice(["", "\ud800", "a.b", '"', "*", "\n", word, word, word])

    def _mutate_zip(self, data: bytes) -> bytes:
        """Mutate a member and write the bundle again, so that its checksums are right."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except Exception:  # noqa: BLE001 - a mutated zip can fail in many ways
            return self._flip_bit(data)
        members.pop("manifest.json", None)
        if not members:
            return self._flip_bit(data)
        name = self._random.choice(list(members))
        is_json = name.endswith(".json")
        mutate = self._mutate_json if is_json else self._random.choice(self._byte_mutations)
        members[name] = mutate(members[name])
        try:
            return make_bundle(members)
        except (ValueError, UnicodeError, OverflowError):
            return self._flip_bit(data)


def _walk_entries(root: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each mapping and list of a document with each of its keys or indexes."""
    nodes = [root]
    while nodes:
        node = nodes.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], dict | list):
                nodes.append(node[key])
