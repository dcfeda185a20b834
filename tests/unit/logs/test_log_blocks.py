"""However a log is stored, what is read is what was written, a block of it at a time."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest

from preflight.logs import log_blocks
from preflight.logs.log_blocks import READ_BLOCK_BYTES, read_decompressed_blocks

TEXT = "".join(f"line {number}: ünïcödé {number * 7919}\n" for number in range(40_000))
DATA = TEXT.encode()


def read(data: bytes, most: int | None = None) -> tuple[bytes, list[str]]:
    notes: list[str] = []
    return b"".join(read_decompressed_blocks(io.BytesIO(data), notes, most)), notes


@pytest.mark.parametrize(
    "data", [b"", b"a", b"\n", DATA, b"\x1f", b"B", b"P"], ids=lambda d: str(d[:2])
)
def test_as_it_is(data: bytes) -> None:
    assert read(data) == (data, [])


def test_gzip_as_gzip_writes_it() -> None:
    packed = subprocess.run(["gzip", "-c"], input=DATA, capture_output=True, check=True).stdout
    assert read(packed) == (DATA, [])
    assert read(packed + packed) == (DATA + DATA, [])
    assert read(packed + b"\0" * 512) == (DATA, []), "tape blocks"
    assert read(packed + b"garbage") == (DATA, []), "gzip warns and ignores it too"
    assert read(gzip.compress(b"")) == (b"", [])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_gzip_that_is_cut_off(part: float) -> None:
    packed = gzip.compress(DATA)
    data, notes = read(packed[: int(len(packed) * part)])
    assert DATA.startswith(data)
    assert len(data) > len(DATA) * part / 2
    assert notes == ["truncated: read only up to the end of the file"]


def test_gzip_of_which_only_the_end_is_missing() -> None:
    assert read(gzip.compress(DATA)[:-3]) == (
        DATA,
        ["truncated: read only up to the end of the file"],
    )


def test_gzip_that_is_damaged() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[len(packed) // 2] ^= 0xFF
    data, notes = read(bytes(packed))
    assert notes == ["damaged: read only up to the damaged part"]
    assert data[: READ_BLOCK_BYTES // 8] == DATA[: READ_BLOCK_BYTES // 8]


def test_a_gzip_bomb_is_left_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 GiB of zeros in 8 MiB: made as it is read, and read for 256 MiB."""
    monkeypatch.setattr(log_blocks, "_MIN_BYTES_FOR_RATIO_CHECK", 2**28)
    squeeze = zlib.compressobj(9, wbits=31)
    piece = squeeze.compress(b"\0" * 2**24) + squeeze.flush(zlib.Z_FULL_FLUSH)
    again = squeeze.compress(b"\0" * 2**24) + squeeze.flush(zlib.Z_FULL_FLUSH)
    notes: list[str] = []
    size = sum(map(len, read_decompressed_blocks(io.BytesIO(piece + again * 500), notes)))
    assert 2**28 < size < 2**28 + 2**22
    assert re.fullmatch(
        r"compressed [0-9,]+ to 1, which is unusual for a log: read only 25[0-9] MiB", notes[-1]
    )


@pytest.mark.parametrize(
    ("bom", "encoding"),
    [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_utf_16(bom: bytes, encoding: str) -> None:
    text = TEXT + "\N{ROCKET}" * READ_BLOCK_BYTES
    assert read(bom + text.encode(encoding)) == (text.encode(), [])
    data, _ = read(bom + text.encode(encoding) + b"\x00")
    assert data.decode().startswith(text)
    assert read(gzip.compress(bom + text.encode(encoding)))[0][:64] != b"", "packed, too"


def test_utf_8_with_a_mark() -> None:
    assert read(codecs.BOM_UTF8 + DATA) == (DATA, [])


@pytest.mark.parametrize(
    ("head", "name"), [(b"\xfd7zXZ\x00", "xz"), (b"BZh91", "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_what_is_packed_otherwise_is_told(head: bytes, name: str) -> None:
    assert read(head + b"x" * 100) == (b"", [f"compressed with {name}: decompress it first"])


def test_what_is_no_text_is_told_and_read() -> None:
    data = bytes(range(256)) * 100
    assert read(data) == (data, ["not a text file; searched anyway"])


def test_no_more_than_was_there() -> None:
    assert read(DATA, 1000) == (DATA[:1000], [])


def test_a_fault_on_the_way() -> None:
    class Failing(io.RawIOBase):
        def __init__(self) -> None:
            self._left = 3

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            self._left -= 1
            if self._left < 0:
                raise OSError(5, "Input/output error")
            return b"line\n"

    notes: list[str] = []
    assert b"".join(read_decompressed_blocks(Failing(), notes)) == b"line\n" * 3  # type: ignore[arg-type]
    assert notes == ["not read to the end: Input/output error"]


def test_only_a_little_is_in_memory() -> None:
    packed = gzip.compress(b"some line of a log\n" * 1_000_000, 1)
    tracemalloc.start()
    try:
        size = sum(map(len, read_decompressed_blocks(io.BytesIO(packed), [])))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 19_000_000
    assert most < 16 * READ_BLOCK_BYTES


def test_nothing_is_read_ahead_of_what_is_asked() -> None:
    def endless() -> Iterator[bytes]:
        yield from read_decompressed_blocks(io.BytesIO(DATA * 10), [])

    taken = next(iter(endless()))
    assert DATA.startswith(taken[:1000])
