#!/usr/bin/python
"""Runs on a host: finds or installs preflight for this user alone, and lets it measure.

It uses the standard library, and words that Python 3.7 understands, so that an old one can be told.
"""

DOCUMENTATION = r"""
module: preflight_facts
short_description: Measure this host with preflight, and return the snapshot
description:
  - Uses preflight of this very version, in a virtual environment of its own under the user's cache
    folder, or one that is installed already. Leaves nothing else behind.
options:
  version: {description: The version to use, type: str, required: true}
  digest: {description: What tells it from others of that version, type: str, required: true}
  parcel: {description: A zip of wheels to install from, removed afterwards, type: path}
  offline: {description: Take all packages from the parcel, type: bool, default: false}
  remove: {description: Remove what was installed, and measure nothing, type: bool, default: false}
  rules: {description: Rule files by their path as JSON in Base64, type: str}
  path: {description: Where models and data will be stored, type: str}
  chdir: {description: The folder of the stack, type: str}
  compose_files: {description: Its compose files, type: list, elements: str}
  docker_host: {description: The engine's address, type: str}
  context: {description: The docker context, type: str}
  redact: {description: Take secrets out of the snapshot, type: bool, default: true}
  seconds: {description: How long measuring may take, type: float, default: 10}
  most: {description: Bytes of the largest snapshot that is returned, type: int, default: 67108864}
author: the authors of preflight
"""
RETURN = r"""
snapshot: {description: What `preflight facts -f json` printed, type: str, returned: when measured}
missing: {description: Why this version can't be used before a parcel comes, type: str}
trouble: {description: What kept it from measuring, type: str}
removed: {description: The folder that was removed, type: str}
"""

import base64  # noqa: E402
import fcntl  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import zipfile  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

OLDEST = (3, 10)
WHOLE = "preflight-is-whole"  # written last: an environment without it was never finished
START = 20  # seconds that a start may take beside the measuring
INSTALL = 240  # seconds
ROOM = 100 * 10**6  # bytes that an environment takes
NO_VENV = ("ensurepip is not available", "No module named venv", "No module named ensurepip")


class Trouble(Exception):
    """What keeps this host from being measured, in a line for people."""


def home():
    """Return the folder of all that is installed by this."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "preflight")


def said(process_output):
    """Return the last telling line of a program's output."""
    lines = [line.strip() for line in process_output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "preflight:"))]
    return (errors or lines or ["it said nothing"])[-1][:500]


def finish(process, seconds, most=None):
    """Return output, errors and exit code of a process; it and its children are ended in time."""
    outputs = [[], []]

    def read(stream, into, limit):
        for piece in iter(lambda: stream.read1(65536), b""):
            into.append(piece)
            if limit is not None and sum(map(len, into)) > limit:
                kill(process)

    threads = [
        threading.Thread(target=read, args=(stream, into, limit))
        for stream, into, limit in (
            (process.stdout, outputs[0], most),
            (process.stderr, outputs[1], 2**20),
        )
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        process.wait()
        raise Trouble(f"preflight did not end within {seconds:.0f} s")
    for thread in threads:
        thread.join(5)
    kill(process)  # what it may have left
    out, errors = (b"".join(pieces) for pieces in outputs)
    if most is not None and len(out) > most:
        raise Trouble(f"its snapshot is larger than {most:,} bytes")
    return out.decode("utf-8", "replace"), errors.decode("utf-8", "replace"), code


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass


def start(command, **options):
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
    except OSError as fault:
        raise Trouble(f"cannot run {command[0]}: {fault.strerror}")


def installed(version, digest):
    """Return the program to use: the private one, else one of this version on PATH."""
    place = os.path.join(home(), f"{version}-{digest}")
    if os.path.exists(os.path.join(place, WHOLE)):
        return os.path.join(place, "bin", "preflight")
    found = shutil.which("preflight")
    if found is not None:
        out, _, code = finish(start([found, "--version"]), START, 2**20)
        if code == 0 and out.strip() == "preflight " + version:
            return found
    return None


def python():
    """Return the newest Python that the program runs on."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for minor in range(20, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found is not None:
            return found
    raise Trouble(
        "Python {}.{} is too old: preflight needs {}.{} or later".format(
            sys.version_info[0], sys.version_info[1], *OLDEST
        )
    )


def install(version, digest, parcel, offline):
    """Make the private environment from a parcel of wheels; a half-made one is never used."""
    os.makedirs(home(), mode=0o700, exist_ok=True)
    with open(os.path.join(home(), "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another controller may be at it
        place = os.path.join(home(), f"{version}-{digest}")
        if os.path.exists(os.path.join(place, WHOLE)):
            return
        for name in os.listdir(home()):
            if os.path.isdir(os.path.join(home(), name)):
                shutil.rmtree(os.path.join(home(), name))
        try:
            fill(place, parcel, offline)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


def fill(place, parcel, offline):
    wheels = os.path.join(place, "wheels")
    run([python(), "-m", "venv", place], "make a virtual environment")
    with zipfile.ZipFile(parcel) as archive:
        archive.extractall(wheels)
    own = [os.path.join(wheels, n) for n in os.listdir(wheels) if n.startswith("preflight-")]
    index = ["--no-index", "--find-links", wheels] if offline else []
    pip = [os.path.join(place, "bin", "python"), "-m", "pip", "--disable-pip-version-check"]
    run(pip + ["install", "--quiet", "--no-input", "--no-cache-dir"] + index + own, "install it")
    shutil.rmtree(wheels)
    with open(os.path.join(place, WHOLE), "w") as file:
        file.write("made by preflight fleet; preflight fleet --remove takes it away\n")


def run(command, what):
    out, errors, code = finish(start(command), INSTALL)
    if code == 0:
        return
    free = shutil.disk_usage(home()).free
    if free < ROOM:  # said first: what fails for it says something else, or nothing
        raise Trouble(f"its disk is full: {free // 10**6} MB are free for {home()}, it takes 100")
    if any(words in out + errors for words in NO_VENV):
        raise Trouble(f"cannot {what}: Python's venv is not installed: apt install python3-venv")
    raise Trouble(f"cannot {what}: {said(errors or out)}")


def measure(program, wanted):
    """Let the program measure; return the snapshot as it printed it."""
    with tempfile.TemporaryDirectory(prefix="preflight-") as folder:
        command = [program, "facts", "-f", "json", "--timeout", "{:g}".format(wanted["seconds"])]
        rules = json.loads(base64.b64decode(wanted["rules"])) if wanted["rules"] else {}
        command += ["-r", write_rules(folder, rules) if rules else "default"]
        command += [] if wanted["redact"] else ["--no-redact"]
        for option in ("path", "docker_host", "context"):
            if wanted[option]:
                command += ["--" + option.replace("_", "-"), wanted[option]]
        for name in wanted["compose_files"] or ():
            command += ["--compose-file", name]
        place = os.path.expanduser(wanted["chdir"] or "~")
        if not os.path.isdir(place):
            raise Trouble(f"there is no folder {place}: see preflight_chdir")
        own = {k: v for k, v in os.environ.items() if not k.startswith("PREFLIGHT_")}
        process = start(command, cwd=place, env=own)
        out, errors, code = finish(process, wanted["seconds"] + START, wanted["most"])
    if code != 0:
        raise Trouble(said(errors).replace("preflight: ", "", 1))
    return out


def write_rules(folder, rules):
    """Write the rule files as they lie to each other; return the one that names the first."""
    for name, text in rules.items():
        path = os.path.realpath(os.path.join(folder, name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    return os.path.join(folder, "entry.yaml")


def remove():
    place = home()
    if not os.path.isdir(place):
        return ""
    shutil.rmtree(place)
    return place


def answer(wanted):
    if wanted["remove"]:
        return {"removed": remove()}
    program = installed(wanted["version"], wanted["digest"])
    if program is None and wanted["parcel"]:
        install(wanted["version"], wanted["digest"], wanted["parcel"], wanted["offline"])
        program = installed(wanted["version"], wanted["digest"])
    if program is None:
        python()  # nothing need be sent where there is none
        return {"missing": "preflight {}".format(wanted["version"])}
    return {"snapshot": measure(program, wanted)}


def main():
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
            "parcel": {"type": "path"},
            "offline": {"type": "bool", "default": False},
            "remove": {"type": "bool", "default": False},
            "rules": {"type": "str", "default": ""},
            "path": {"type": "str"},
            "chdir": {"type": "str"},
            "compose_files": {"type": "list", "elements": "str", "default": []},
            "docker_host": {"type": "str"},
            "context": {"type": "str"},
            "redact": {"type": "bool", "default": True},
            "seconds": {"type": "float", "default": 10.0},
            "most": {"type": "int", "default": 64 * 2**20},
        }
    )
    try:
        module.exit_json(changed=False, **answer(module.params))
    except Trouble as trouble:
        module.exit_json(changed=False, trouble=str(trouble))
    except (OSError, zipfile.BadZipFile) as fault:
        name = getattr(fault, "filename", None)
        told = f"{name}: {fault.strerror}" if name else str(fault)
        module.exit_json(changed=False, trouble=told)
    finally:
        if module.params["parcel"] and os.path.exists(module.params["parcel"]):
            os.remove(module.params["parcel"])


if __name__ == "__main__":
    main()
