"""Fuzz every reader of outside data: `python tests/fuzz/fuzz.py --seconds 60`.

Each reader runs in a process of its own with a memory limit, and each input has a time limit. With
`pip install atheris`, coverage guides which inputs are tried; without it, valid inputs are mutated
at random. Prints a table; inputs that caused a crash or a hang are kept in a folder, to be
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

MAX_EXTRA_MEMORY_BYTES = 2**30  # that a worker may allocate beyond what it starts with
MAX_CPU_SECONDS = 10  # for one input
_GRACE_SECONDS = 60  # after its time, before a worker is killed
_MAX_FAULTS = 20  # different ones to keep of one reader


class Hang(BaseException):
    """An input took longer than the limit; a BaseException, so that readers don't catch it."""


class Worker:
    """Feeds one reader, counts the outcomes and keeps the inputs that caused a fault."""

    def __init__(self, reader: Reader, folder: Path, seconds: float) -> None:
        self.reader = reader
        self.folder = folder
        self.deadline = time.monotonic() + seconds
        self.counts = {"inputs": 0, "read": 0, "faults": 0, "hangs": 0}
        self.files_by_fault: dict[str, str] = {}
        self._last_saved = 0.0
        self._current_input = os.open(folder / "current", os.O_RDWR | os.O_CREAT)

    def try_input(self, data: bytes) -> None:
        """Read one input; keep it if it causes a fault."""
        from readers import is_read

        os.ftruncate(self._current_input, 0)
        os.pwrite(self._current_input, data, 0)  # kept if the process dies
        self.counts["inputs"] += 1
        try:
            with limit_cpu(MAX_CPU_SECONDS):
                self.counts["read"] += is_read(self.reader, data)
        except Hang as fault:
            self.counts["hangs"] += 1
            self._keep(data, fault)
        except Exception as fault:  # noqa: BLE001 - any exception is a fault of the reader
            self.counts["faults"] += 1
            self._keep(data, fault)
        if time.monotonic() - self._last_saved > 1:
            self.save_state()

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return time.monotonic() >= self.deadline

    def save_state(self) -> None:
        """Write the counts and faults so far to `state.json`."""
        self._last_saved = time.monotonic()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        state = {**self.counts, "peak": peak, "files_by_fault": self.files_by_fault}
        (self.folder / "state.new").write_text(json.dumps(state))
        os.replace(self.folder / "state.new", self.folder / "state.json")

    def _keep(self, data: bytes, fault: BaseException) -> None:
        """Keep the shortest input of each fault, by exception type and line of the program."""
        key = _describe_fault(fault)
        file = self.folder / hashlib.sha256(key.encode()).hexdigest()[:12]
        if len(self.files_by_fault) < _MAX_FAULTS and (
            key not in self.files_by_fault or len(data) < file.stat().st_size
        ):
            file.write_bytes(data)
            self.files_by_fault[key] = str(file)


@contextmanager
def limit_cpu(seconds: float) -> Iterator[None]:
    """Raise Hang if the block takes more CPU seconds than these."""
    signal.signal(signal.SIGPROF, _raise_hang)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _raise_hang(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


def limit_memory() -> None:
    """Let this process allocate `MAX_EXTRA_MEMORY_BYTES` more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_EXTRA_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _describe_fault(fault: BaseException) -> str:
    """Return the exception type and the innermost line of the program in its traceback."""
    frames = traceback.extract_tb(fault.__traceback__)
    own_frames = [frame for frame in frames if "/preflight/" in frame.filename] or frames
    line = f"{Path(own_frames[-1].filename).name}:{own_frames[-1].lineno}" if own_frames else "?"
    message = " ".join(str(fault).split())[:120] if isinstance(fault, AssertionError) else ""
    return f"{type(fault).__name__} at {line} {message}".strip()


# --- the two engines ------------------------------------------------------------------------------


def run_random(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Mutate valid inputs at random until the time is over."""
    from mutation import Mutator
    from readers import READERS

    limit_memory()
    worker = Worker(READERS[name], folder, seconds)
    for data in Mutator(worker.reader, Random(seed)).inputs():
        if worker.is_over():
            break
        worker.try_input(data)
    worker.save_state()


def run_atheris(name: str, folder: Path, seconds: float, seed: int) -> None:
    """Let atheris choose the inputs; most mutations are ours, which keep the input's structure."""
    import atheris

    with atheris.instrument_imports(include=["preflight", "zipfile"]):
        _import_all()
        import readers
    from mutation import MAX_INPUT_BYTES, Mutator

    limit_memory()
    worker = Worker(readers.READERS[name], folder, seconds)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(worker.reader.seeds()):
        (corpus / f"{number}").write_bytes(data)

    def try_input(data: bytes) -> None:
        worker.try_input(data)
        if worker.is_over():
            worker.save_state()
            readers.remove_files()
            sys.stderr.flush()
            os._exit(0)

    mutator = Mutator(worker.reader, Random(seed))

    def mutate(data: bytes, max_bytes: int, seed: int) -> Any:
        if seed % 4 == 0:
            return atheris.Mutate(data, max_bytes)
        mutated = mutator.make_input() if seed % 4 == 1 else mutator.mutate(data)
        return mutated[:max_bytes]

    options = [
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={seed}",
        f"-timeout={2 * _GRACE_SECONDS}",
        "-rss_limit_mb=0",
    ]
    options.append(f"-artifact_prefix={folder}/")
    atheris.Setup(["fuzz", *options, str(corpus)], try_input, custom_mutator=mutate)
    atheris.Fuzz()


def _import_all() -> None:
    """Import the whole program: atheris instruments only what is imported in its block."""
    import preflight

    for module in walk_packages(preflight.__path__, "preflight."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


ENGINES: dict[str, Callable[[str, Path, float, int], None]] = {
    "random": run_random,
    "atheris": run_atheris,
}


# --- the table ------------------------------------------------------------------------------------


def run_worker(engine: str, name: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Run a worker and return its state; a worker that died or hung counts as a fault too."""
    folder.mkdir(parents=True)
    log = folder / "log"
    start = time.monotonic()
    arguments = ("--worker", engine, name, str(folder), str(seconds), str(seed))
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=out, stderr=out)
    try:
        code: int | None = process.wait(seconds + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        process.kill()
        process.wait()
    state: dict[str, Any] = dict.fromkeys(("inputs", "read", "faults", "hangs", "peak"), 0)
    state["files_by_fault"] = {}
    state_file = folder / "state.json"
    state |= json.loads(state_file.read_text()) if state_file.exists() else {}
    state["seconds"] = time.monotonic() - start
    edges = re.findall(rb"cov: (\d+)", log.read_bytes())
    state["edges"] = int(edges[-1]) if edges else None
    if code != 0:
        state["hangs" if code is None else "faults"] += 1
        last_line = log.read_text(errors="replace").strip().splitlines()[-1:]
        state["files_by_fault"][f"exit code {code}: {last_line}"] = str(folder / "current")
    return state


def fuzz_readers(names: list[str], engine: str, folder: Path, seconds: float, seed: int) -> int:
    """Fuzz one reader after the other, print the table, and return the number of faults."""
    print(
        f"engine {engine}, seed {seed}, Python {sys.version.split()[0]}, {seconds:g} s a reader\n"
    )
    print("| reader | inputs | accepted | seconds | edges | peak memory | crashes | hangs |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    totals = [0, 0, 0.0, 0, 0]
    files_by_fault: dict[str, str] = {}
    for name in names:
        state = run_worker(engine, name, folder / name, seconds, seed)
        row = [state[key] for key in ("inputs", "read", "seconds", "faults", "hangs")]
        totals = [total + count for total, count in zip(totals, row, strict=True)]
        edges = "–" if state["edges"] is None else f"{state['edges']:,}"
        peak = f"{state['peak'] / 1e6:.0f} MB"
        print(_format_row(name, *row[:3], edges, peak, *row[3:]), flush=True)
        files_by_fault |= {f"{name}: {key}": file for key, file in state["files_by_fault"].items()}
    print(_format_row("all", *totals[:3], "", "", *totals[3:]))
    for key, file in files_by_fault.items():
        print(f"\n{key}\n  {file}")
    return len(files_by_fault)


def _format_row(name: str, inputs: float, read: float, seconds: float, *rest: object) -> str:
    cells = [name, f"{inputs:,.0f}", f"{read:,.0f}", f"{seconds:.0f}", *map(str, rest)]
    return f"| {' | '.join(cells)} |"


def try_again(files: list[str], only: list[str]) -> None:
    """Try saved inputs again, so that a fault shows its traceback."""
    from readers import READERS, is_read, remove_files

    for file in files:
        names = only or [Path(file).parent.name]
        for name in names:
            accepted = is_read(READERS[name], Path(file).read_bytes())
            print(f"{file}: {name} {'accepts' if accepted else 'refuses'} it")
    remove_files()


def main() -> None:
    """Read the options and run."""
    sys.path.insert(
        0, str(Path(__file__).resolve().parents[1] / "support")
    )  # pytest isn't there to do it
    if sys.argv[1:2] == ["--worker"]:
        engine, name, folder, seconds, seed = sys.argv[2:]
        ENGINES[engine](name, Path(folder), float(seconds), int(seed))
        from readers import remove_files

        remove_files()
        return
    from readers import READERS

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60, help="for each reader")
    options.add_argument("--only", action="append", choices=READERS, help="a reader; repeatable")
    options.add_argument("--engine", choices=ENGINES, help="atheris where it is installed")
    options.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options.add_argument("--folder", help="where to keep the inputs that cause faults")
    options.add_argument("--again", nargs="+", metavar="FILE", help="inputs to try again")
    given = options.parse_args()
    if given.again:
        try_again(given.again, given.only or [])
        return
    engine = given.engine or ("atheris" if find_spec("atheris") else "random")
    folder = Path(given.folder or tempfile.mkdtemp(prefix="preflight-fuzz-"))
    sys.exit(
        1
        if fuzz_readers(given.only or list(READERS), engine, folder, given.seconds, given.seed)
        else 0
    )


if __name__ == "__main__":
    main()
