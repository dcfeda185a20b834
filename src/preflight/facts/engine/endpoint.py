"""Which container engine the docker CLI would use here, found the way the CLI finds it.

The SDK's order differs by version, and it takes the default context for a mistyped one. Source:
docker/cli, cli/command/cli.go `resolveContextName`, cli/context/store.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from preflight.model.facts import NotMeasuredError, UnknownKind

DEFAULT_DOCKER_CONTEXT = "default"
DEFAULT_DOCKER_SOCKET = "unix:///var/run/docker.sock"
DEFAULT_DOCKER_PIPE = "npipe:////./pipe/docker_engine"
_LOOPBACK_HOST_PATTERN = r"localhost|::1?|127(\.\d+){3}|0\.0\.0\.0"  # "any" dials this machine
_TCP_OR_HTTP_SCHEMES = ("tcp", "http", "https")
_ENGINE_ADDRESS_SCHEMES = (*_TCP_OR_HTTP_SCHEMES, "ssh", "unix", "npipe")
_MAX_DOCKER_CONFIG_BYTES = 2**20
_CONTROL_CHAR_PATTERN = re.compile(r"[\x00-\x1f\x7f]")
_ENGINE_ADDRESS_EXAMPLES = (
    "expected unix:///PATH, tcp://HOST:PORT, ssh://USER@HOST or npipe:////./pipe/NAME"
)


class EngineError(NotMeasuredError):
    """Why an engine gave no answer."""

    def __init__(self, reason: str, kind: UnknownKind = "invalid") -> None:
        super().__init__(reason, kind)


class TlsFiles(NamedTuple):
    """Files for TLS; with `verify` False the server's certificate isn't checked."""

    ca: str | None
    cert: str | None
    key: str | None
    verify: bool


class Endpoint(NamedTuple):
    """An engine's address, and the option, variable or file that names it."""

    url: str
    context: str
    named_by: str
    tls: TlsFiles | None = None

    @property
    def is_local(self) -> bool:
        """Whether the address is one of this machine."""
        return self.is_loopback or urlsplit(self.url).scheme in ("unix", "npipe")

    @property
    def is_loopback(self) -> bool:
        """Whether it is a port of this machine, where a tunnel may end."""
        host = urlsplit(self.url).hostname  # None of a socket, for which nothing is compiled
        return host is not None and re.fullmatch(_LOOPBACK_HOST_PATTERN, host) is not None

    @property
    def path_prefix(self) -> str:
        """The prefix of every path that is requested, for an engine behind a proxy."""
        parts = urlsplit(self.url)
        return (
            quote(unquote(parts.path)).rstrip("/") if parts.scheme in _TCP_OR_HTTP_SCHEMES else ""
        )


def resolve_endpoint(docker_host: str | None, context: str | None) -> Endpoint:
    """Return the endpoint: option, DOCKER_HOST, DOCKER_CONTEXT, currentContext, default socket.

    Raises EngineError with what to correct.
    """
    environ, folder = os.environ, find_docker_config_folder(os.environ)
    address, address_named_by = environ.get("DOCKER_HOST") or None, "DOCKER_HOST"
    if docker_host is not None:
        address, address_named_by = docker_host, "--docker-host"
    name, named_by = context or DEFAULT_DOCKER_CONTEXT, "--context"
    if not context and address is None:
        name, named_by = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
        if not name:
            current = read_docker_config_file(environ).get("currentContext")
            name = current if isinstance(current, str) and current else DEFAULT_DOCKER_CONTEXT
            named_by = f"currentContext in {folder / 'config.json'}"
    if name != DEFAULT_DOCKER_CONTEXT:
        return _read_docker_context(name, named_by, folder / "contexts")
    if address is None:
        address = DEFAULT_DOCKER_PIPE if sys.platform == "win32" else DEFAULT_DOCKER_SOCKET
        address_named_by = "the default"
    tls = None
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))  # 0 counts as set, as in the CLI
    certificates = Path(environ.get("DOCKER_CERT_PATH") or folder)
    if verify or environ.get("DOCKER_TLS"):
        tls = _find_tls_files(certificates, verify)
    url = _normalize_engine_address(address, address_named_by, tls)
    if tls is not None and verify and tls.ca is None and url.startswith("tcp:"):
        reason = f"TLS needs ca.pem, which is not in {certificates} (DOCKER_TLS_VERIFY is set)"
        raise EngineError(reason)
    return Endpoint(url, DEFAULT_DOCKER_CONTEXT, address_named_by, tls)


def find_docker_config_folder(environ: Mapping[str, str]) -> Path:
    """Return the docker CLI's folder: DOCKER_CONFIG, else .docker in the home folder."""
    return Path(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def find_other_engine_sockets(
    asked_url: str = "", environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> list[str]:
    """Return the addresses of engines' sockets that exist, without the one that was asked."""
    base, runtime = home or os.path.expanduser("~"), environ.get("XDG_RUNTIME_DIR")
    folders = (".docker/run", ".docker/desktop", ".colima/default", ".orbstack/run", ".rd")
    paths = ["/var/run/docker.sock", *(f"{base}/{folder}/docker.sock" for folder in folders)]
    if runtime:
        paths += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    paths.append("/run/podman/podman.sock")
    by_real_path = {os.path.realpath(path): path for path in reversed(paths) if _is_socket(path)}
    by_real_path.pop(os.path.realpath(asked_url.removeprefix("unix://")), None)
    return [f"unix://{path}" for path in reversed(by_real_path.values())]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False  # it doesn't exist, or its folder is closed to us


def read_docker_config_file(
    environ: Mapping[str, str], name: str = "config.json"
) -> Mapping[str, Any]:
    """Return a JSON object from the docker CLI's folder, an empty one as the CLI does."""
    return read_json_object_or_empty(find_docker_config_folder(environ) / name)


def read_json_object_or_empty(file: Path) -> Mapping[str, Any]:
    """Return a file's content, an empty mapping if it is missing or broken."""
    try:
        with open(file, "rb") as stream:
            content = json.loads(stream.read(_MAX_DOCKER_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _find_tls_files(folder: Path, verify: bool) -> TlsFiles:
    ca, cert, key = (
        str(file) if os.path.exists(file := folder / f"{name}.pem") else None
        for name in ("ca", "cert", "key")
    )
    return TlsFiles(ca, cert, key, verify)


def _read_docker_context(name: str, named_by: str, contexts: Path) -> Endpoint:
    import hashlib  # takes 3 ms, and few have a context

    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    file = contexts / "meta" / digest / "meta.json"
    title = f"context {name!r} ({named_by})"
    try:
        endpoint = json.loads(file.read_bytes())["Endpoints"]["docker"]
        url, skip_verify = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
        if not isinstance(url, str):
            raise TypeError("Host isn't a string")
    except FileNotFoundError:
        others = map(read_json_object_or_empty, (contexts / "meta").glob("*/meta.json"))
        names = sorted(str(other["Name"]) for other in others if "Name" in other)
        known = ", ".join([DEFAULT_DOCKER_CONTEXT, *names])
        raise EngineError(f"{title} doesn't exist; available contexts: {known}") from None
    except OSError as error:
        raise EngineError(f"{title}: {error.strerror} ({file})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise EngineError(f"{title} has invalid metadata: {file}") from None
    tls_folder = contexts / "tls" / digest / "docker"
    has_tls = skip_verify or os.path.isdir(tls_folder)
    tls = _find_tls_files(tls_folder, not skip_verify) if has_tls else None
    return Endpoint(_normalize_engine_address(url, f"context {name!r}", tls), name, named_by, tls)


def _normalize_engine_address(url: str, named_by: str, tls: TlsFiles | None) -> str:
    """Return an address with a known scheme and its port; raises EngineError."""
    address = url.strip()
    if "://" not in address and re.fullmatch(r"[^/\s]*:[0-9]+(/.*)?", address):
        address = f"tcp://{address}"  # as the CLI reads HOST:PORT
    if address.startswith("tcp://:"):
        address = f"tcp://localhost{address.removeprefix('tcp://')}"
    try:
        parts = urlsplit(address)
        port = parts.port
        target = parts.netloc + parts.path if parts.scheme in ("unix", "npipe") else parts.hostname
        if (
            parts.scheme not in _ENGINE_ADDRESS_SCHEMES
            or not target
            or _CONTROL_CHAR_PATTERN.search(address)
            or parts.password
        ):
            raise ValueError
    except ValueError:
        shown = re.sub(r":[^:/@]*@", ":…@", url)  # without a password
        reason = f"{named_by} {shown!r} isn't a valid engine address: {_ENGINE_ADDRESS_EXAMPLES}"
        raise EngineError(reason) from None
    if parts.scheme == "tcp" and port is None:
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return f"tcp://{host}:{2376 if tls else 2375}{parts.path}"
    return address
