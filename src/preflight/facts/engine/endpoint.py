"""Which container engine the docker CLI would talk to here, found the way the CLI finds it.

The SDK's own order differs by version, and a mistyped context silently becomes the default one;
so the endpoint is resolved here. Source: docker/cli, cli/command/cli.go `resolveContextName`,
cli/context/store.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

DEFAULT_CONTEXT = "default"
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
DEFAULT_PIPE = "npipe:////./pipe/docker_engine"
_LOOPBACK = re.compile(r"localhost|::1?|127(\.\d+){3}|0\.0\.0\.0")  # "any" dials this machine


class EndpointError(Exception):
    """What names the endpoint is wrong: a context that isn't there, an address that is none."""


class Tls(NamedTuple):
    """Files for TLS; `verify` False skips the check of the server's certificate."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


class Endpoint(NamedTuple):
    """Where the engine is, and what said so."""

    url: str
    context: str
    named_by: str
    tls: Tls | None = None

    @property
    def local(self) -> bool:
        """Whether the address is one of this machine's own."""
        return self.loopback or urlsplit(self.url).scheme in ("unix", "npipe")

    @property
    def base(self) -> str:
        """What stands before every path that is asked for, as a proxy in front may want it."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("tcp", "http", "https") or not parts.path.strip("/"):
            return ""
        return posixpath.normpath("/" + quote(unquote(parts.path)).strip("/"))

    @property
    def loopback(self) -> bool:
        """Whether it is a port of this machine, to which a tunnel may have its end."""
        return bool(_LOOPBACK.fullmatch(urlsplit(self.url).hostname or ""))


def resolve(
    docker_host: str | None,
    context: str | None,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
) -> Endpoint:
    """Return the endpoint: option, DOCKER_HOST, DOCKER_CONTEXT, currentContext, default socket.

    Raises EndpointError, in words that name what to correct.
    """
    folder = config_folder(environ, home)
    if context:
        return _context(context, "--context", folder, environ)
    if docker_host is not None:
        return _host(docker_host, "--docker-host", folder, environ)
    if environ.get("DOCKER_HOST"):
        return _host(environ["DOCKER_HOST"], "DOCKER_HOST", folder, environ)
    if environ.get("DOCKER_CONTEXT"):
        return _context(environ["DOCKER_CONTEXT"], "DOCKER_CONTEXT", folder, environ)
    current = _current_context(folder)
    return _context(current, f"currentContext in {folder / 'config.json'}", folder, environ)


def config_folder(environ: Mapping[str, str], home: Path | None = None) -> Path:
    """Return the docker CLI's folder: DOCKER_CONFIG, else .docker in the home folder."""
    if environ.get("DOCKER_CONFIG"):
        return Path(environ["DOCKER_CONFIG"])
    return (home or Path(os.path.expanduser("~"))) / ".docker"


def find_other_sockets(
    besides: str = "", environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> list[str]:
    """Return the sockets of engines that are there `besides` an address: a hint, no choice."""
    base = home or Path(os.path.expanduser("~"))
    runtime = environ.get("XDG_RUNTIME_DIR")
    places: list[str | Path] = [
        "/var/run/docker.sock",
        *(base / name for name in (".docker/run/docker.sock", ".docker/desktop/docker.sock")),
        *(base / name for name in (".colima/default/docker.sock", ".orbstack/run/docker.sock")),
        base / ".rd/docker.sock",
        *(f"{runtime}/{name}" for name in ("docker.sock", "podman/podman.sock") if runtime),
        "/run/podman/podman.sock",
    ]
    seen = {os.path.realpath(besides.removeprefix("unix://"))}
    found = []
    for place in places:
        real = os.path.realpath(place)
        if real not in seen and _is_socket(place):
            seen.add(real)
            found.append(f"unix://{place}")
    return found


def _is_socket(place: str | Path) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(place).st_mode)
    except OSError:
        return False  # not there, or in a folder that is closed to us


def _current_context(folder: Path) -> str:
    """Return config.json's currentContext; like the CLI, a broken file counts as none."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return DEFAULT_CONTEXT
    name = config.get("currentContext") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name else DEFAULT_CONTEXT


def _host(url: str, named_by: str, folder: Path, environ: Mapping[str, str]) -> Endpoint:
    tls = _environment_tls(folder, environ)
    checked = _checked(url, named_by, tls)
    if tls is not None and tls.verify and tls.ca is None and checked.startswith("tcp:"):
        place = environ.get("DOCKER_CERT_PATH") or folder
        raise EndpointError(f"TLS needs ca.pem, and {place} has none (DOCKER_TLS_VERIFY is set)")
    return Endpoint(checked, DEFAULT_CONTEXT, named_by, tls)


def _environment_tls(folder: Path, environ: Mapping[str, str]) -> Tls | None:
    """DOCKER_TLS_VERIFY counts as set whatever it holds, `0` too, as in the CLI."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return None
    certificates = environ.get("DOCKER_CERT_PATH")
    return _tls(Path(certificates) if certificates else folder, verify)


def _tls(folder: Path, verify: bool) -> Tls:
    ca, cert, key = (
        str(file) if os.path.exists(file := folder / f"{name}.pem") else None
        for name in ("ca", "cert", "key")
    )
    return Tls(ca, cert, key, verify)


def _context(name: str, named_by: str, folder: Path, environ: Mapping[str, str]) -> Endpoint:
    if name == DEFAULT_CONTEXT:
        default = DEFAULT_PIPE if sys.platform == "win32" else DEFAULT_SOCKET
        url = environ.get("DOCKER_HOST") or default
        by = "DOCKER_HOST" if environ.get("DOCKER_HOST") else "the default"
        return _host(url, by, folder, environ)
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    try:
        data = json.loads(meta.read_bytes())
        endpoint = data["Endpoints"]["docker"]
        url, skip_verify = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
        if not isinstance(url, str):
            raise TypeError("Host is no text")
    except FileNotFoundError:
        known = ", ".join(_contexts(folder))
        raise EndpointError(
            f"context {name!r} ({named_by}) does not exist; there is {known}"
        ) from None
    except OSError as fault:
        raise EndpointError(f"context {name!r} ({named_by}): {fault.strerror}: {meta}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EndpointError(f"context {name!r} ({named_by}) has broken metadata: {meta}") from None
    material = folder / "contexts" / "tls" / digest / "docker"
    tls = _tls(material, not skip_verify) if os.path.isdir(material) or skip_verify else None
    return Endpoint(_checked(url, f"context {name!r}", tls), name, named_by, tls)


def _contexts(folder: Path) -> list[str]:
    """Return the names of the contexts that are there, `default` first."""
    names = []
    try:
        files = sorted((folder / "contexts" / "meta").glob("*/meta.json"))
    except OSError:
        files = []
    for file in files:
        try:
            name = json.loads(file.read_bytes())["Name"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        names.append(str(name))
    return [DEFAULT_CONTEXT, *sorted(names)]


def _checked(url: str, named_by: str, tls: Tls | None) -> str:
    """Return an address with its scheme known and its port set; else say what one looks like."""
    shown = re.sub(r":[^:/@]*@", ":…@", url)  # without a password
    address = url.strip()
    if re.fullmatch(r"[^/\s]*:[0-9]+(/.*)?", address):
        address = f"tcp://{address}"  # as the CLI reads HOST:PORT
    address = re.sub("^tcp://(?=:[0-9])", "tcp://localhost", address)
    looks = "expected unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST or npipe:////./pipe/NAME"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as fault:
        raise EndpointError(
            f"{named_by} {shown!r} is no address of an engine ({fault}): {looks}"
        ) from None
    fits = {
        "unix": bool(parts.path or parts.netloc),
        "npipe": bool(parts.path),
        "tcp": bool(parts.hostname),
        "http": bool(parts.hostname),
        "https": bool(parts.hostname),
        "ssh": bool(parts.hostname),
    }
    if not fits.get(parts.scheme) or parts.password or re.search(r"[\x00-\x1f\x7f]", address):
        raise EndpointError(f"{named_by} {shown!r} is no address of an engine: {looks}")
    if parts.scheme == "tcp" and port is None:
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return f"tcp://{host}:{2376 if tls else 2375}{parts.path}"
    return address
