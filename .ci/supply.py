"""Check what is shipped: `python .ci/supply.py`, in a checkout; needs only Python.

Two builds give the same bytes; the wheel and the sdist install and give the same report; and the
tests that need no engine pass with the lowest versions of the dependencies that the metadata
allows, on the oldest Python that it allows and that is installed here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = (
    ".venv*",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".coverage*",
    "build",
    "dist",
    "mutants",
)
IGNORED = shutil.ignore_patterns(".git", *GENERATED)
SNAPSHOT = ROOT / "tests/cases/linux-healthy/facts.json"
TESTS = [
    "tests/unit/model",
    "tests/unit/rules",
    "tests/unit/evaluate",
    "tests/unit/snapshot",
    "tests/unit/render/test_golden.py",
]
OLDEST_MINOR_VERSION = 10  # of Python 3; requires-python in pyproject.toml


def run(*command: object, **options: object) -> str:
    """Run a command and return its output; exit with that output if the command fails."""
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return str(done.stdout)


def create_environment(folder: Path, *packages: object, python: str = sys.executable) -> Path:
    """Create a virtual environment with these packages; return the folder of its programs."""
    run(python, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", *packages)
    return folder / "bin"


def build(tools: Path, folder: Path, umask: int, zone: str) -> dict[str, bytes]:
    """Build a copy of the checkout with this umask and time zone; return each artifact's bytes."""
    shutil.copytree(ROOT, folder, ignore=IGNORED)
    for path in folder.rglob("*"):
        os.utime(path, (umask * 10**6, umask * 10**6))
    previous_umask = os.umask(umask)
    try:
        run(tools / "python", "-m", "build", cwd=folder, env={**os.environ, "TZ": zone})
    finally:
        os.umask(previous_umask)
    return {file.name: file.read_bytes() for file in sorted((folder / "dist").iterdir())}


def check_reproducible_builds(folder: Path) -> list[Path]:
    """Build twice and compare the bytes; return the wheel and the sdist."""
    tools = create_environment(folder / "tools", "build")
    first = build(tools, folder / "first/preflight", 0o022, "UTC")
    second = build(tools, folder / "another-folder/x", 0o027, "Asia/Tokyo")
    wheel = zipfile.ZipFile(next(folder.glob("first/preflight/dist/*.whl")))
    if "preflight/rulesets/general.precompiled" not in wheel.namelist():
        sys.exit("the wheel has no precompiled rule sets: see .ci/build_hook.py")
    for name, data in first.items():
        if second.get(name) != data:
            sys.exit(f"{name}: two builds differ")
        print(f"{hashlib.sha256(data).hexdigest()}  {name}: two builds are the same")
    return [folder / "first/preflight/dist" / name for name in first]


def check_installed_artifacts(folder: Path, artifacts: list[Path]) -> None:
    """Install each artifact and check a snapshot with it: the reports must be the same."""
    reports = set()
    for number, artifact in enumerate(artifacts):
        programs = create_environment(folder / f"installed-{number}", artifact)
        report = run(programs / "preflight", "check", "--facts", SNAPSHOT, "-f", "json", cwd=folder)
        reports.add(re.sub(r'"seconds": [0-9.]+', "", report))
        print(f"{artifact.name}: installed, and wrote a report of {len(report):,} bytes")
    if len(reports) != 1:
        sys.exit("the wheel and the sdist give different reports")


def check_lowest_dependencies(folder: Path) -> None:
    """Run the tests that need no engine with the lowest allowed version of each dependency."""
    text = (ROOT / "pyproject.toml").read_text()
    dependencies = re.search(r"\ndependencies = \[\n(.*?)\n\]", text, re.DOTALL)
    assert dependencies is not None
    bounds = re.findall(r'"([\w-]+)>=([\w.]+)', dependencies[1])
    constraints = folder / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in bounds))
    python = next(filter(None, map(find_python, range(OLDEST_MINOR_VERSION, 20))), sys.executable)
    programs = create_environment(
        folder / "lowest", "-c", constraints, f"{ROOT}[test]", python=python
    )
    output = run(
        programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=ROOT
    )
    python_version = run(python, "--version").strip()
    versions = " ".join(f"{name} {version}" for name, version in bounds)
    print(f"{python_version}, {versions}: {output.strip().splitlines()[-1]}")


def find_python(minor: int) -> str | None:
    """Return a working Python 3.MINOR from PATH or pyenv, or None."""
    in_pyenv = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
    for python in (shutil.which(f"python3.{minor}"), *in_pyenv):
        done = python and subprocess.run([python, "-c", ""], check=False, capture_output=True)
        if done and done.returncode == 0:
            return str(python)
    return None


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="supply-") as name:
        folder = Path(name)
        check_installed_artifacts(folder, check_reproducible_builds(folder))
        check_lowest_dependencies(folder)


if __name__ == "__main__":
    main()
