"""`preflight rules pull`: fetch a rule file from a git repository, and lock what it is.

The user's own git fetches one commit into a temporary folder, without a checkout, hooks or
questions; the rule file is read from there. Nothing else fetches: other commands only compare a
file with its lock.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from preflight.check import build_catalogue
from preflight.cli import streams
from preflight.cli.options import LOCAL_RULE_FILE
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.problems import InputError
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode
from preflight.model.rules import MAX_RULE_FILE_BYTES
from preflight.processes import find_program, make_resource_limiter

RULE_FILE_LOCK_SUFFIX = ".lock"
_LOCK_FILE_SCHEMA = "preflight.lock/1"
_MAX_LOCK_BYTES = 2**16
_MAX_GIT_FETCH_BYTES = 256 * 2**20  # of what git fetches
_RULE_FILE_PATHS_IN_PULLED_REPOSITORY = ("rules.yaml", LOCAL_RULE_FILE)  # in the repository
_GIT_HOST_PATTERN = r"(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_GIT_USER_PATTERN = r"[A-Za-z0-9_][\w.-]*@"
_RULE_FILE_ADDRESS_PATTERN = re.compile(
    r"(?:git::)?"
    rf"(?P<url>(?:https://{_GIT_HOST_PATTERN}/|ssh://(?:{_GIT_USER_PATTERN})?{_GIT_HOST_PATTERN}/|{_GIT_USER_PATTERN}{_GIT_HOST_PATTERN}:|file:///|\.{{0,2}}/)"
    r"(?:(?!//)[^\0-\x1f])+?)"
    r"(?://(?P<path>[^\0-\x1f]+?))?"
    r"@(?P<ref>[A-Za-z0-9_][\w./+-]*)",
    re.ASCII,
)
_GIT_ADDRESS_HELP = (
    "expected git::URL@REF or git::URL//PATH@REF, such as git::https://github.com/acme/rules@v1.2;"
    " URL is https://… without a user, ssh://…, user@host:…, file:///… or a folder such as ./rules"
)
# what would make git use another repository than the temporary one
_GIT_VARIABLES_TO_UNSET = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
)  # fmt: skip
_GIT_OPTIONS = (
    "-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false", "-c", "maintenance.auto=0",
    "-c", "gc.auto=0", "-c", "fetch.recurseSubmodules=false", "-c", "fetch.writeCommitGraph=false",
)  # fmt: skip

RULES_PULL_COMMAND = CommandSyntax(
    """\
Without //PATH, the file is rules.yaml or preflight.yaml at the top of the repository. The lock
file, FILE.lock, records the address, commit and SHA-256. Commit both files. Other commands
never fetch the rule file again, and refuse it if it no longer matches its lock file.

Exit code: 0 if the file was written; 2 if it can't be fetched, isn't a valid rule file, or
would replace a file that was changed.

Example: preflight rules pull git::https://github.com/acme/rules@v1""",
    (
        Argument(
            ("address",),
            "git::URL[//PATH]@REF",
            help="The URL of the Git repository, the path of the rule file in it, and a tag, "
            "branch, or commit.",
        ),
        Argument(
            ("--output", "-o"),
            "FILE",
            default="preflight.yaml",
            is_file=True,
            help="Write the rule file to this path.",
        ),
        Argument(
            ("--force",),
            help="Replace the file even if it wasn't pulled, or has changed since it was pulled.",
        ),
        Argument(
            ("--timeout",),
            "SECONDS",
            default="60",
            help="Total time limit for all Git operations.",
        ),
    ),
)


class RuleFileAddress(NamedTuple):
    """Where a rule file is: a repository, the path in it if one is given, a tag, branch, commit."""

    url: str
    path: str
    ref: str


def run_rules_pull(arguments: ParsedArguments) -> int:
    """Run `preflight rules pull`; return the exit code."""
    output, wanted = arguments.output, parse_rule_file_address(arguments.address)
    if output == "-":
        raise InputError(
            "--output -: expected a file name, because the lock file goes in the same folder"
        )
    path, commit, data = fetch_rule_file_from_git(wanted, arguments.timeout)
    name = f"{path} of {wanted.url} at {wanted.ref}"
    if len(data) > MAX_RULE_FILE_BYTES:
        raise InputError(f"{name} is larger than {MAX_RULE_FILE_BYTES // 2**20} MiB")
    if not arguments.force:
        _require_unmodified_pulled_file(output, data)
    count = _validate_and_count_rules(output, data)
    lock = {
        "schema": _LOCK_FILE_SCHEMA,
        "address": wanted.url,
        "path": path,
        "ref": wanted.ref,
        "commit": commit,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    # first: if writing stops in between, the file is refused rather than held to nothing
    streams.write_file(output + RULE_FILE_LOCK_SUFFIX, json.dumps(lock, indent=2) + "\n")
    streams.write_file(output, data)
    streams.write_stdout(
        f"Wrote {output}, {format_count(count, 'rule')}: {name}, commit {commit[:12]}.\n"
        f"Wrote {output}{RULE_FILE_LOCK_SUFFIX}. Commit both files.\n"
    )
    return ExitCode.OK


def parse_rule_file_address(text: str) -> RuleFileAddress:
    """Read an address; raises InputError for one that git could take for something else."""
    match = _RULE_FILE_ADDRESS_PATTERN.fullmatch(text)
    path = (match and match["path"]) or ""
    is_inside = not {"", ".", ".."} & set(path.split("/")) if path else True
    if match is None or not is_inside or ".." in match["ref"] or match["ref"].endswith("/"):
        shown = re.sub(r"//[^/]*@(?=[^/]*/)", "//", text)  # it may have a password
        raise InputError(f"{shown!r} isn't a valid address: {_GIT_ADDRESS_HELP}")
    url = match["url"]
    return RuleFileAddress(os.path.abspath(url) if url[0] in "./" else url, path, match["ref"])


def fetch_rule_file_from_git(address: RuleFileAddress, seconds: float) -> tuple[str, str, bytes]:
    """Return the path in the repository, the commit and the contents; raises InputError."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="preflight-", ignore_cleanup_errors=True) as folder:
        git = _GitRunner(folder, seconds)
        git.run("init", "--quiet", "--bare", "--template=", ".")
        git.run("remote", "add", "origin", address.url)
        # trees alone: the one file is fetched when it is read, where the server can do that
        git.run(
            "fetch", "--quiet", "--depth=1", "--no-tags", "--filter=blob:none",
            "origin", address.ref,
        )  # fmt: skip
        commit = git.run("rev-parse", "--verify", "FETCH_HEAD^{commit}").decode().strip()
        place = f"{address.url} at {address.ref}"
        for path in [address.path] if address.path else _RULE_FILE_PATHS_IN_PULLED_REPOSITORY:
            entry = git.run("ls-tree", "-z", commit, "--", path).decode("utf-8", "replace")
            mode, _, rest = entry.partition(" ")
            if not entry:
                continue
            if mode not in ("100644", "100755"):
                kind = {"120000": "a symbolic link", "160000": "a submodule"}
                raise InputError(f"{path} of {place} is {kind.get(mode, 'a folder')}, not a file")
            return path, commit, git.run("cat-file", "blob", rest.split()[1])
        missing = address.path or " or ".join(_RULE_FILE_PATHS_IN_PULLED_REPOSITORY)
        hint = "" if address.path else ": specify the file, as in git::URL//PATH@REF"
        raise InputError(f"{place} has no {missing}{hint}")


class _GitRunner:
    """Runs the user's git in a folder, with its configuration and its credentials."""

    def __init__(self, folder: str, seconds: float) -> None:
        program = find_program("git")
        if program is None:
            raise InputError("Git isn't installed, but 'rules pull' needs it")
        self._command = [program, f"--git-dir={folder}", *_GIT_OPTIONS]
        self._folder, self._seconds = folder, seconds
        self._limit_file_size = make_resource_limiter("RLIMIT_FSIZE", _MAX_GIT_FETCH_BYTES)
        self._deadline = time.monotonic() + seconds
        self._environ = {
            k: v for k, v in os.environ.items() if k not in _GIT_VARIABLES_TO_UNSET
        } | {
            "GIT_ALLOW_PROTOCOL": "https:ssh:file",  # no ext::, which runs commands
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS_REQUIRE": "never",
            "GCM_INTERACTIVE": "never",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "LC_ALL": "C",
        }
        ssh = os.environ.get("GIT_SSH_COMMAND") or self._find_configured_ssh_command() or "ssh"
        if "GIT_SSH" not in os.environ and re.fullmatch(r"(\S*/)?ssh(\s.*)?", ssh):
            self._environ["GIT_SSH_COMMAND"] = f"{ssh} -oBatchMode=yes"

    def _find_configured_ssh_command(self) -> str:
        with suppress(InputError):  # it isn't set
            return self.run("config", "--get", "core.sshCommand").decode().strip()
        return ""

    def run(self, *arguments: str) -> bytes:
        """Return the output of a git command; raises InputError with what it says."""
        files = [os.path.join(self._folder, name) for name in ("preflight.out", "preflight.err")]
        with open(files[0], "w+b") as output, open(files[1], "w+b") as error:
            try:
                process = subprocess.Popen(
                    [*self._command, *arguments], cwd=self._folder, env=self._environ,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=error,
                    start_new_session=True,  # no terminal to ask for a password
                    preexec_fn=self._limit_file_size,  # noqa: PLW1509 - no threads yet
                )  # fmt: skip
            except OSError as problem:
                raise InputError(f"can't run Git: {problem.strerror}") from None
            try:
                code = process.wait(max(0.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise InputError(f"Git didn't finish within {self._seconds:g} s") from None
            finally:
                with suppress(OSError, AttributeError):  # Windows has no process groups
                    os.killpg(process.pid, signal.SIGKILL)  # what git has started too
                process.kill()
                process.wait()
            output.seek(0)
            error.seek(0)
            if code == 0:
                return output.read(MAX_RULE_FILE_BYTES + 1)
            raise InputError(self._explain_failure(error.read(2**16).decode("utf-8", "replace")))

    def _explain_failure(self, text: str) -> str:
        sizes = [
            os.path.getsize(os.path.join(folder, name))
            for folder, _, names in os.walk(self._folder)
            for name in names
        ]
        if max(sizes, default=0) >= _MAX_GIT_FETCH_BYTES:
            return f"the repository is larger than {_MAX_GIT_FETCH_BYTES // 2**20} MiB"
        fatal = re.search(r"^(?:fatal|error): (.+)", text, re.MULTILINE)
        return f"git: {fatal[1] if fatal else text.strip().partition(chr(10))[0] or 'it failed'}"


def _require_unmodified_pulled_file(file: str, data: bytes) -> None:
    """Raise InputError if a file is there that isn't as it was pulled."""
    try:
        existing = streams.read_rule_bytes(file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise streams.make_unreadable_input_error(file, error) from None
    if existing == data:
        return
    lock = read_rule_file_lock(file)
    if lock is None:
        raise InputError(f"{file} exists but wasn't pulled; use --force to replace it")
    if not _matches_digest(existing, lock["sha256"]):
        raise InputError(f"{file} has changed since it was pulled; use --force to replace it")


def _validate_and_count_rules(file: str, data: bytes) -> int:
    """Return how many rules a file has; raises InputError with its problems."""
    from preflight.rules.load import load_ruleset

    read_others = streams.make_rule_file_reader(file, {})
    return len(
        load_ruleset(
            file, lambda name: data if name == file else read_others(name), build_catalogue()
        ).rules
    )


def read_rule_file_lock(file: str) -> Mapping[str, str] | None:
    """Return the lock of a rule file, or None if it has none; raises InputError."""
    name = file + RULE_FILE_LOCK_SUFFIX
    if not os.path.lexists(name):
        return None
    try:
        lock = json.loads(streams.read_input(name, _MAX_LOCK_BYTES))
    except (ValueError, RecursionError):
        lock = None
    keys = ("address", "path", "ref", "commit", "sha256")
    if not isinstance(lock, dict) or not all(isinstance(lock.get(key), str) for key in keys):
        raise InputError(
            f"{name} isn't a valid lock file: delete it, or run 'preflight rules pull' again"
        )
    return lock


def _matches_digest(data: bytes, sha256: str) -> bool:
    """Return whether a file is what was pulled; git on Windows may have changed its line ends."""
    texts = (data, data.replace(b"\r\n", b"\n"))
    return any(hashlib.sha256(text).hexdigest() == sha256 for text in texts)


def check_rule_file_lock(file: str, data: bytes) -> None:
    """Raise InputError if a rule file isn't what its lock says."""
    lock = read_rule_file_lock(file)
    if lock is not None and not _matches_digest(data, lock["sha256"]):
        import shlex

        address = f"git::{lock['address']}//{lock['path']}@{lock['ref']}"
        command = ("preflight", "rules", "pull", address, "-o", file, "--force")
        lock_file = file + RULE_FILE_LOCK_SUFFIX
        raise InputError(
            f"{file} doesn't match {lock_file}: it has changed since it was pulled. To"
            f" restore it: {shlex.join(command)}. To keep the change, delete {lock_file}"
        )
