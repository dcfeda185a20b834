"""What Ollama makes of its environment variables, read the way its own code reads them.

What it can't parse it silently takes as not set. Owns where they lead to as well: the address at
which Ollama is asked. Sources: ollama's envconfig/config.go (`Var`,
`KeepAlive`, `Uint`, `Host`, `ConnectableHost`), and of Go time.ParseDuration, strconv.ParseInt and
ParseUint, net.SplitHostPort.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from preflight.model.facts import Unknown, Value
from preflight.model.quantities import format_duration

DEFAULT_PORT = 11434
_SECOND = 10**9  # a duration is counted in nanoseconds, in 64 bits
_DEFAULT_KEEP_ALIVE = 300 * _SECOND
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_MOST_SHOWN = 60  # characters of a value

_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^.0-9]+)")
_HOST_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)")


class Setting(NamedTuple):
    """A setting: the variable that makes it, what Ollama takes it as, and the same in words."""

    name: str
    variable: str
    value: Value
    words: str


class Address(NamedTuple):
    """Where Ollama is asked; `path` is a prefix without a slash in front."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """The address as it is shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")

    @property
    def loopback(self) -> bool:
        """Whether it is this machine's own."""
        return self.host == "localhost" or _is_loopback(self.host)


class Where(NamedTuple):
    """The address to ask, None where there is none, and what said so."""

    address: Address | Unknown | None
    source: str


_NUMBERS = {
    "num_parallel": (
        "OLLAMA_NUM_PARALLEL",
        "1 request at a time since 0.13, automatically up to 4 before",
    ),
    "max_loaded_models": ("OLLAMA_MAX_LOADED_MODELS", "3 models on a CPU, 3 for each GPU"),
    "context_length": ("OLLAMA_CONTEXT_LENGTH", "4096 tokens, by version and VRAM also others"),
}


def settings(environment: Mapping[str, Value]) -> Iterator[Setting]:
    """Yield what Ollama makes of a container's environment; None stands for a variable not set."""
    yield _keep_alive(environment)
    for name, (variable, automatic) in _NUMBERS.items():
        yield _number(name, variable, automatic, environment)
    yield _ignored(environment)


def _keep_alive(environment: Mapping[str, Value]) -> Setting:
    """In seconds; -1 is for ever."""
    variable = "OLLAMA_KEEP_ALIVE"
    text = trimmed(environment.get(variable))
    if not text:
        return Setting("keep_alive", variable, 300, f"{variable} is not set: Ollama takes 5m")
    told = f"{variable}={shown(text)}"
    try:
        nanoseconds = parse_keep_alive(text)
    except ValueError:
        return Setting(
            "keep_alive", variable, 300, f"{told} is no duration: Ollama silently takes 5m"
        )
    if nanoseconds < 0:
        return Setting("keep_alive", variable, -1, f"{told}: a model stays loaded for ever")
    whole, rest = divmod(nanoseconds, _SECOND)
    seconds = nanoseconds / _SECOND if rest else whole
    takes = f"Ollama takes {format_duration(seconds, 9)}"
    return Setting("keep_alive", variable, seconds, f"{told}: {takes}")


def _number(name: str, variable: str, automatic: str, environment: Mapping[str, Value]) -> Setting:
    text = trimmed(environment.get(variable))
    left = f"left to Ollama: {automatic}"
    if not text:
        return Setting(name, variable, None, f"{variable} is not set, {left}")
    told = f"{variable}={shown(text)}"
    try:
        value = parse_uint(text)
    except ValueError:
        return Setting(name, variable, None, f"{told} is no whole number, so {left}")
    return Setting(name, variable, value or None, told if value else f"{told}, {left}")


def _ignored(environment: Mapping[str, Value]) -> Setting:
    ignored = []
    for variable, parse in _PARSED.items():
        text = trimmed(environment.get(variable))
        try:
            if text:
                parse(text)
        except ValueError:
            ignored.append(f"{variable}={shown(text)}")
    words = "what Ollama can't parse it takes as not set"
    return Setting("ignored", "", ignored or None, words)


def trimmed(value: Value) -> str:
    """Return a variable as Ollama sees it: without blanks and then quotes around it."""
    return "" if value is None else str(value).strip(_GO_SPACE).strip("\"'")


def shown(text: str) -> str:
    """Return a value fit to be told: on one line, its beginning where it is long."""
    plain = "".join(char for char in text if char.isprintable())
    return plain if len(plain) <= _MOST_SHOWN else plain[: _MOST_SHOWN - 1] + "…"


def parse_keep_alive(text: str) -> int:
    """Read a duration, else whole seconds, in nanoseconds; too many seconds wrap as in Go."""
    try:
        return parse_duration(text)
    except ValueError:
        return (parse_int(text) * _SECOND + 2**63) % 2**64 - 2**63


def parse_duration(text: str) -> int:
    """Read a duration as time.ParseDuration does, in nanoseconds; ValueError where it fails."""
    negative, rest = text.startswith("-"), text[text.startswith(("-", "+")) :]
    if rest == "0":
        return 0
    total = at = 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None:
            raise ValueError("no unit")
        total = (total + _nanoseconds(match[1], match[2] or "", match[3])) % 2**64
        if total > 2**63:
            raise ValueError("too long")
        at = match.end()
    if not rest or (total == 2**63 and not negative):
        raise ValueError("nothing" if not rest else "too long")
    return -total if negative else total


def _nanoseconds(whole: str, fraction: str, unit: str) -> int:
    if unit not in _UNITS or not whole + fraction:
        raise ValueError("no unit or no digits")
    value = int(whole or "0") * _UNITS[unit]
    part, scale = _leading_fraction(fraction)
    value += int(float(part) * (_UNITS[unit] / scale))
    if value > 2**63:
        raise ValueError("too long")
    return value


def _leading_fraction(digits: str) -> tuple[int, float]:
    """Return as many digits as 63 bits hold, and the power of ten to divide them by."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > (2**63 - 1) // 10 or (grown := value * 10 + int(digit)) > 2**63:
            break
        value, scale = grown, scale * 10
    return value, scale


def parse_int(text: str) -> int:
    """Read a whole number as strconv.ParseInt does with 64 bits; ValueError where it fails."""
    if not re.fullmatch("[-+]?[0-9]+", text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError("no 64-bit integer")
    return int(text)


def parse_uint(text: str) -> int:
    """Read a whole number as strconv.ParseUint does, signs refused; ValueError where it fails."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("no unsigned 64-bit integer")
    return int(text)


_PARSED: Mapping[str, Callable[[str], int]] = {
    "OLLAMA_KEEP_ALIVE": parse_keep_alive,
    "OLLAMA_LOAD_TIMEOUT": parse_keep_alive,
    **{variable: parse_uint for variable, _ in _NUMBERS.values()},
    "OLLAMA_MAX_QUEUE": parse_uint,
    "OLLAMA_GPU_OVERHEAD": parse_uint,
}


def parse_host(value: Value) -> Address:
    """Read OLLAMA_HOST as its client does: `any` address dials loopback, a bad port is the default.

    Raises ValueError on what can't be dialled at all.
    """
    scheme, separator, rest = trimmed(value).partition("://")
    if not separator:
        scheme, rest = "http", scheme
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    host_port, _, path = rest.partition("/")
    match = _HOST_PORT.fullmatch(host_port)
    host, port = (match[1] or match[2] or "", match[3]) if match else (host_port.strip("[]"), "")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else default
    if scheme not in ("http", "https"):
        raise ValueError("neither http nor https")
    plain = re.fullmatch(r"[\w.:%-]*", host, re.ASCII) and re.fullmatch("[!-~]*", path)
    if not plain or "@" in host_port:
        raise ValueError("no host, or no path")
    return Address(
        scheme, _connectable(host), number if number <= 65535 else default, path.rstrip("/")
    )


def _connectable(host: str) -> str:
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    return "::1" if re.fullmatch("[0:]*:[0:]*", host) else host


def choose(environ: Mapping[str, str], local: bool, service: Mapping[str, Any] | None) -> Where:
    """Return where Ollama is asked: OLLAMA_HOST, else the service's published port, else 11434.

    `local` tells whether the engine is on this machine, `service` is the one that runs Ollama.
    Only the user's OLLAMA_HOST leads off this machine.
    """
    if trimmed(environ.get("OLLAMA_HOST")):
        try:
            return Where(parse_host(environ["OLLAMA_HOST"]), "OLLAMA_HOST")
        except ValueError:
            reason = "OLLAMA_HOST is no address: expected HOST, HOST:PORT or http://HOST:PORT"
            return Where(Unknown(reason, "invalid"), "")
    if not local:
        reason = "Ollama runs on another host; set OLLAMA_HOST to where it can be asked"
        return Where(Unknown(reason, "unsupported"), "")
    if service is None:
        return Where(Address("http", "127.0.0.1", DEFAULT_PORT), "Ollama's default address")
    return _published(service)


def _published(service: Mapping[str, Any]) -> Where:
    """Return the port that leads to a service, on loopback."""
    inside = _inside(service)
    if service.get("network_mode") == "host":
        return Where(Address("http", "127.0.0.1", inside), "the service uses the host's network")
    ports = [
        port
        for port in service.get("ports") or ()
        if str(port.get("target")) == str(inside) and port.get("protocol") in (None, "tcp")
    ]
    if not ports:
        return Where(None, f"the service publishes no port for {inside}; set OLLAMA_HOST")
    for port in ports:
        host, published = str(port.get("host_ip") or ""), str(port.get("published") or "")
        host = _LOOPBACK.get(host, host)
        if published.isdecimal() and 0 < int(published) < 65536 and _is_loopback(host):
            return Where(
                Address("http", host, int(published)), "the port that the service publishes"
            )
    reason = "the service publishes no fixed port on loopback; set OLLAMA_HOST to where it answers"
    return Where(Unknown(reason, "unsupported"), "")


def _is_loopback(host: str) -> bool:
    return host == "::1" or (host.startswith("127.") and host.replace(".", "").isdecimal())


def _inside(service: Mapping[str, Any]) -> int:
    """Return the port that Ollama listens on in its container."""
    text = trimmed(environment_of(service).get("OLLAMA_HOST"))
    try:
        return parse_host(text).port
    except ValueError:
        return DEFAULT_PORT


def environment_of(service: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the environment of a compose service."""
    return service.get("environment") or {}
