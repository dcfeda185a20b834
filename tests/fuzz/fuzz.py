"""Gives every reader inputs that nobody meant: `python tests/fuzz/fuzz.py --seconds 60`.

Each reader works in a process of its own, under a limit of memory, and each input under a limit of
time. With `pip install atheris` new code that an input reaches steers what is tried next; without
it, good inputs are changed by chance. Prints a table; what was found is kept in a folder, to be
tried again: `python tests/fuzz/fuzz.py --again FILE...`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from readers import Reader

MEMORY = 2**30  # bytes that a worker may take beyond what it starts with
PATIENCE = 10  # seconds of work for one input
_GONE = 60  # seconds without a sign after which a worker is ended
_KEPT = 20  # different faults of one reader


class Hang(BaseException):
    """An input took longer than the limit; no `except Exception` holds it."""


class Worker:
    """One reader at work: counts what came of its inputs, keeps those that found a fault."""

    def __init__(self, reader: Reader, folder: Path, seconds: float) -> None:
        self.reader = reader
        self.folder = folder
        self.ends = time.monotonic() + seconds
        self.counts = {"inputs": 0, "read": 0, "faults": 0, "hangs": 0}
        self.found: dict[str, str] = {}
        self._told = 0.0
        self._current = os.open(folder / "current", os.O_RDWR | os.O_CREAT)

    def try_one(self, data: bytes) -> None:
        """Read one input; what it finds is kept, and the work goes on."""
        from readers import is_read

        os.ftruncate(self._current, 0)
        os.pwrite(self._current, data, 0)  # what is left when the process dies
        self.counts["inputs"] += 1
        try:
            with within(PATIENCE):
                self.counts["read"] += is_read(self.reader, data)
        except Hang as fault:
            self.counts["hangs"] += 1
            self._keep(data, fault)
        except Exception as fault:  # noqa: BLE001 - that is what is looked for
            self.counts["faults"] += 1
            self._keep(data, fault)
        if time.monotonic() - self._told > 1:
            self.tell()

    def is_over(self) -> bool:
        """Whether the time has gone by."""
        return time.monotonic() >= self.ends

    def tell(self) -> None:
        """Write down how it stands."""
        self._told = time.monotonic()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        state = {**self.counts, "peak": peak, "found": self.found}
        (self.folder / "state.new").write_text(json.dumps(state))
        os.replace(self.folder / "state.new", self.folder / "state.json")

    def _keep(self, data: bytes, fault: BaseException) -> None:
        """Keep the shortest input of each fault, by its kind and its place in the program."""
        key = _place(fault)
        file = self.folder / hashlib.sha256(key.encode()).hexdigest()[:12]
        if len(self.found) < _KEPT and (key not in self.found or len(data) < file.stat().st_size):
            file.write_bytes(data)
            self.found[key] = str(file)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise Hang where it takes more than these seconds of work."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


def limit_memory() -> None:
    """Let this process take so much more than it has now, and then fail."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _place(fault: BaseException) -> str:
    """Name a fault by its kind and the innermost line of the program that it came through."""
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [one for one in frames if "/preflight/" in one.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    said = " ".join(str(fault).split())[:120] if isinstance(fault, AssertionError) else ""
    return f"{type(fault).__name__} at {where} {said}".strip()


# --- the two engines ------------------------------------------------------------------------------


def by_chance(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Change good inputs until the time is over."""
    from mutation import Mutator
    from readers import READERS

    limit_memory()
    worker = Worker(READERS[name], folder, seconds)
    for data in Mutator(worker.reader, Random(seed)).inputs():
        if worker.is_over():
            break
        worker.try_one(data)
    worker.tell()


def by_coverage(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Let atheris choose; most of its changes are ours, which know how an input is built."""
    import atheris

    with atheris.instrument_imports(include=["preflight", "zipfile"]):
        _import_all()
        import readers
    from mutation import LARGEST, Mutator

    limit_memory()
    worker = Worker(readers.READERS[name], folder, seconds)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(worker.reader.seeds()):
        (corpus / f"{number}").write_bytes(data)

    def one(data: bytes) -> None:
        worker.try_one(data)
        if worker.is_over():
            worker.tell()
            readers.leave_nothing()
            sys.stderr.flush()
            os._exit(0)

    mutator = Mutator(worker.reader, Random(seed))

    def mutate(data: bytes, most: int, number: int) -> Any:
        if number % 4 == 0:
            return atheris.Mutate(data, most)
        return (mutator.anew() if number % 4 == 1 else mutator.changed(data))[:most]

    options = [f"-max_len={LARGEST}", f"-seed={seed}", f"-timeout={2 * _GONE}", "-rss_limit_mb=0"]
    options.append(f"-artifact_prefix={folder}/")
    atheris.Setup(["fuzz", *options, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _import_all() -> None:
    """Import the whole program at once: what is imported later would not be seen into."""
    import preflight

    for module in walk_packages(preflight.__path__, "preflight."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


ENGINES: dict[str, Callable[[str, Path, float, int], None]] = {
    "chance": by_chance,
    "atheris": by_coverage,
}


# --- the table ------------------------------------------------------------------------------------


def watched(engine: str, name: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Run a worker to its end and return how it stands; that it died or hung is a fault too."""
    folder.mkdir(parents=True)
    log = folder / "log"
    began = time.monotonic()
    asked = ("--worker", engine, name, str(folder), str(seconds), str(seed))
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, __file__, *asked], stdout=out, stderr=out)
    try:
        code: int | None = process.wait(seconds + _GONE)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        process.kill()
        process.wait()
    state = folder / "state.json"
    told: dict[str, Any] = {"inputs": 0, "read": 0, "faults": 0, "hangs": 0, "peak": 0, "found": {}}
    told |= json.loads(state.read_text()) if state.exists() else {}
    told["seconds"] = time.monotonic() - began
    edges = re.findall(rb"cov: (\d+)", log.read_bytes())
    told["edges"] = int(edges[-1]) if edges else None
    if code != 0:
        told["hangs" if code is None else "faults"] += 1
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        told["found"][f"the process ended with {code}: {last}"] = str(folder / "current")
    return told


def table(names: list[str], engine: str, folder: Path, seconds: float, seed: int) -> int:
    """Run the readers one after the other, print the table; returns how many faults were found."""
    print(
        f"engine {engine}, seed {seed}, Python {sys.version.split()[0]}, {seconds:g} s a reader\n"
    )
    print("| reader | inputs | of them read | seconds | edges | peak memory | crashes | hangs |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    sums = [0, 0, 0.0, 0, 0]
    found: dict[str, str] = {}
    for name in names:
        told = watched(engine, name, folder / name, seconds, seed)
        row = (told["inputs"], told["read"], told["seconds"], told["faults"], told["hangs"])
        sums = [total + one for total, one in zip(sums, row, strict=True)]
        edges = "–" if told["edges"] is None else f"{told['edges']:,}"
        print(_row(name, *row[:3], edges, f"{told['peak'] / 1e6:.0f} MB", *row[3:]), flush=True)
        found |= {f"{name}: {key}": file for key, file in told["found"].items()}
    print(_row("all", *sums[:3], "", "", *sums[3:]))
    for key, file in found.items():
        print(f"\n{key}\n  {file}")
    return len(found)


def _row(name: str, inputs: float, read: float, seconds: float, *rest: object) -> str:
    cells = [name, f"{inputs:,.0f}", f"{read:,.0f}", f"{seconds:.0f}", *map(str, rest)]
    return f"| {' | '.join(cells)} |"


def again(files: list[str], only: list[str]) -> None:
    """Try inputs once more, where a fault shows its whole traceback."""
    from readers import READERS, is_read, leave_nothing

    for file in files:
        names = only or [Path(file).parent.name]
        for name in names:
            was = is_read(READERS[name], Path(file).read_bytes())
            print(f"{file}: {name} {'reads' if was else 'refuses'} it")
    leave_nothing()


def main() -> None:
    """Read the options and run."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # not by pytest
    if sys.argv[1:2] == ["--worker"]:
        engine, name, folder, seconds, seed = sys.argv[2:]
        ENGINES[engine](name, Path(folder), float(seconds), int(seed))
        from readers import leave_nothing

        leave_nothing()
        return
    from readers import READERS

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60, help="of each reader")
    options.add_argument("--only", action="append", choices=READERS, help="a reader; repeatable")
    options.add_argument("--engine", choices=ENGINES, help="atheris where it is installed")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--folder", help="where to keep what is found")
    options.add_argument("--again", nargs="+", metavar="FILE", help="inputs to try once more")
    given = options.parse_args()
    if given.again:
        again(given.again, given.only or [])
        return
    engine = given.engine or ("atheris" if find_spec("atheris") else "chance")
    folder = Path(given.folder or tempfile.mkdtemp(prefix="preflight-fuzz-"))
    sys.exit(
        1 if table(given.only or list(READERS), engine, folder, given.seconds, given.seed) else 0
    )


if __name__ == "__main__":
    main()
