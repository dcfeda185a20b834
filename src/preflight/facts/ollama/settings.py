"""What Ollama makes of its environment variables, and the address at which it is asked.

What Ollama can't parse it silently treats as not set. Sources: ollama's envconfig/config.go (`Var`,
`KeepAlive`, `Uint`, `Host`, `ConnectableHost`), Go's time.ParseDuration and strconv.ParseUint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from preflight.model.facts import Unknown, Value
from preflight.model.quantities import format_duration, parse_duration

DEFAULT_PORT = 11434
DEFAULT_KEEP_ALIVE_SECONDS = 300
MAX_SECONDS = 2**63 / 10**9  # Go counts nanoseconds in 64 bits
MAX_VALUE_CHARS = 60
ANY_ADDRESSES = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # and what dials them
GO_DURATION = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+", re.ASCII
)
HOST_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)")
NUMBER_SETTINGS = {  # by name: the variable, and what Ollama does without it
    "num_parallel": (
        "OLLAMA_NUM_PARALLEL",
        "1 request at a time since 0.13, automatically up to 4 before",
    ),
    "max_loaded_models": ("OLLAMA_MAX_LOADED_MODELS", "3 models on a CPU, 3 for each GPU"),
    "context_length": ("OLLAMA_CONTEXT_LENGTH", "4096 tokens, by version and VRAM also others"),
}


class Setting(NamedTuple):
    """A setting: the variable that makes it, how Ollama understands it, and the same in words."""

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
        numeric = self.host.startswith("127.") and self.host.replace(".", "").isdecimal()
        return numeric or self.host in ("localhost", "::1")


class ApiLocation(NamedTuple):
    """The address to ask, None if no port leads to Ollama, and what decided it."""

    address: Address | Unknown | None
    source: str


def read_settings(environment: Mapping[str, Value]) -> Iterator[Setting]:
    """Yield what Ollama makes of a container's environment; None is a variable that isn't set."""
    yield _keep_alive(environment)
    for name, (variable, automatic) in NUMBER_SETTINGS.items():
        text, default = read_variable(environment, variable), f"Ollama decides: {automatic}"
        words = f"{variable}={shorten(text)}" if text else f"{variable} is not set"
        try:
            value = parse_uint(text) if text else 0
        except ValueError:
            value, words = 0, f"{words} isn't a valid number"
        yield Setting(name, variable, value or None, words if value else f"{words}. {default}")
    ignored = []
    for variable, parse in PARSERS.items():
        text = read_variable(environment, variable)
        try:
            parse(text or "0")
        except ValueError:
            ignored.append(f"{variable}={shorten(text)}")
    yield Setting("ignored", "", ignored or None, "Ollama treats what it can't parse as not set")


def _keep_alive(environment: Mapping[str, Value]) -> Setting:
    """Return the setting in seconds; -1 is for ever."""
    variable, seconds = "OLLAMA_KEEP_ALIVE", float(DEFAULT_KEEP_ALIVE_SECONDS)
    text = read_variable(environment, variable)
    words = f"{variable}={shorten(text)}"
    if not text:
        words = f"{variable} is not set: Ollama uses 5m"
    else:
        try:
            seconds = parse_keep_alive(text)
            uses = f"Ollama uses {format_duration(seconds, 9)}"
            words += ": a model stays loaded for ever" if seconds < 0 else f": {uses}"
        except ValueError:
            words += " isn't a valid duration: Ollama silently uses 5m"
    value = -1 if seconds < 0 else int(seconds) if seconds == int(seconds) else seconds
    return Setting("keep_alive", variable, value, words)


def read_variable(environment: Mapping[str, Value], variable: str) -> str:
    """Return a variable as Ollama sees it: without spaces and then quotes around it."""
    value = environment.get(variable)
    return "" if value is None else str(value).strip().strip("\"'")


def shorten(text: str) -> str:
    """Return a value fit to be shown: on one line, its beginning where it is long."""
    plain = "".join(char for char in text if char.isprintable())
    return plain if len(plain) <= MAX_VALUE_CHARS else plain[: MAX_VALUE_CHARS - 1] + "…"


def parse_keep_alive(text: str) -> float:
    """Read a duration of Go, or whole seconds, in seconds; raises ValueError.

    Go writes `.5m` and `5.m` too and has no days; otherwise it is the rules' grammar.
    """
    if re.fullmatch("[-+]?[0-9]+", text):
        seconds: float = int(text)
        if not -(2**63) <= seconds < 2**63:
            raise ValueError("more than 64 bits")
        return seconds
    if GO_DURATION.fullmatch(text) is None:
        raise ValueError("not a duration of Go")
    plain = re.sub("[\u00b5\u03bc]", "u", text)
    plain = re.sub(r"(?<![0-9])\.", "0.", re.sub(r"\.(?![0-9])", "", plain))
    seconds = round(parse_duration(plain), 9)
    if abs(seconds) > MAX_SECONDS:
        raise ValueError("more than 64 bits of nanoseconds")
    return seconds


def parse_uint(text: str) -> int:
    """Read a whole number without a sign, of 64 bits; raises ValueError."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("not an unsigned 64-bit integer")
    return int(text)


PARSERS: Mapping[str, Callable[[str], float]] = {
    "OLLAMA_KEEP_ALIVE": parse_keep_alive,
    "OLLAMA_LOAD_TIMEOUT": parse_keep_alive,
    **{variable: parse_uint for variable, _ in NUMBER_SETTINGS.values()},
    "OLLAMA_MAX_QUEUE": parse_uint,
    "OLLAMA_GPU_OVERHEAD": parse_uint,
}


def parse_host(text: str) -> Address:
    """Read OLLAMA_HOST as Ollama's client does: an invalid port becomes the default.

    Raises ValueError where it can't be dialled at all.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", scheme
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    host_port, _, path = rest.partition("/")
    match = HOST_PORT.fullmatch(host_port)
    host, port = (match[1] or match[2] or "", match[3]) if match else (host_port.strip("[]"), "")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else default
    if scheme not in ("http", "https"):
        raise ValueError("neither http nor https")
    plain = re.fullmatch(r"[\w.:%-]*", host, re.ASCII) and re.fullmatch("[!-~]*", path)
    if not plain or "@" in host_port:
        raise ValueError("not a host and a path")
    host = ANY_ADDRESSES.get(host, host)
    return Address(scheme, host, number if number <= 65535 else default, path.rstrip("/"))


def locate_api(
    environ: Mapping[str, str], local: bool, service: Mapping[str, Any] | None
) -> ApiLocation:
    """Return where Ollama is asked: OLLAMA_HOST, else the service's published port, else 11434.

    `local` is whether the engine is on this machine, `service` the one that runs Ollama. Only the
    user's OLLAMA_HOST leads off this machine.
    """
    if text := read_variable(environ, "OLLAMA_HOST"):
        try:
            return ApiLocation(parse_host(text), "OLLAMA_HOST")
        except ValueError:
            words = "OLLAMA_HOST isn't a valid address: use HOST, HOST:PORT or http://HOST:PORT"
            return ApiLocation(Unknown(words, "invalid"), "")
    if not local:
        words = "Ollama runs on another host; set OLLAMA_HOST to its address"
        return ApiLocation(Unknown(words, "unsupported"), "")
    if service is None:
        return ApiLocation(Address("http", "127.0.0.1", DEFAULT_PORT), "Ollama's default address")
    return _locate_published(service)


def _locate_published(service: Mapping[str, Any]) -> ApiLocation:
    """Return the port on loopback that leads to a service."""
    inside = _port_inside(service)
    if service.get("network_mode") == "host":
        source = "the service uses the host's network"
        return ApiLocation(Address("http", "127.0.0.1", inside), source)
    ports = [
        port
        for port in service.get("ports") or ()
        if str(port.get("target")) == str(inside) and port.get("protocol") in (None, "tcp")
    ]
    if not ports:
        return ApiLocation(None, f"the service publishes no port for {inside}; set OLLAMA_HOST")
    for port in ports:
        host, published = str(port.get("host_ip") or ""), str(port.get("published") or "")
        address = Address(
            "http", ANY_ADDRESSES.get(host, host), int(published) if published.isdecimal() else 0
        )
        if 0 < address.port < 65536 and address.loopback:
            return ApiLocation(address, "the port that the service publishes")
    words = "the service publishes no fixed port on loopback; set OLLAMA_HOST to its address"
    return ApiLocation(Unknown(words, "unsupported"), "")


def _port_inside(service: Mapping[str, Any]) -> int:
    """Return the port that Ollama listens on in its container."""
    try:
        return parse_host(read_variable(environment_of(service), "OLLAMA_HOST")).port
    except ValueError:
        return DEFAULT_PORT


def environment_of(service: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the environment of a compose service."""
    return service.get("environment") or {}
