"""Names that resolve, and addresses that can be reached: measured with `--online` only.

Only what a rule names is asked, from this machine: not from a container, and not from the host of a
remote engine. What is refused or doesn't exist is false; where no answer came nothing is known.
"""

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.http_client import find_proxy
from preflight.model.facts import Measured, Path, Unknown
from preflight.model.quantities import split_host_dot_port

_MAX_NETWORK_TARGETS = 200  # asked for; each has a thread
_MAX_NETWORK_CHECK_SECONDS = 5.0  # for all of them
_SECONDS_RESERVED_FOR_RESULTS = 0.5  # for what is left to do when they had their time
_MAX_ADDRESSES_PER_HOST = 4  # tried of a host
_HTTPS_PORT = 443
_UNREACHABLE_ERRORS = {
    errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH,
    errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT,
}  # fmt: skip
# elsewhere the same error is given where no resolver is reachable
_NO_SUCH_NAME_ERRORS = (
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)} if sys.platform == "linux" else set()
)

Addresses: TypeAlias = list[tuple[Any, ...]]  # as getaddrinfo has them


class ReachabilityResult(NamedTuple):
    """Whether a name or an address can be used, and what was found."""

    value: bool | Unknown
    source: str = ""


def measure_network(context: MeasurementContext, paths: Sequence[Path]) -> Iterator[Measured]:
    """Yield what is known of each name and address that a rule asks for."""
    deadline = min(
        context.deadline - _SECONDS_RESERVED_FOR_RESULTS,
        time.monotonic() + _MAX_NETWORK_CHECK_SECONDS,
    )
    pool = ThreadPoolExecutor(_MAX_NETWORK_TARGETS)
    ask_by_kind = {"resolve": resolve_host_name, "connect": connect_to_address}
    answers = [
        pool.submit(ask_by_kind[kind], name, deadline)
        for _, kind, name in paths[:_MAX_NETWORK_TARGETS]
    ]
    wait(answers, max(0.0, deadline - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    for path, future in zip(paths, answers, strict=False):
        name = path[-1]
        answer = ReachabilityResult(Unknown(f"{name} didn't answer in time", "timeout"))
        if future.done() and not future.cancelled():
            error = future.exception()
            failure = ReachabilityResult(
                Unknown(f"{name}: {type(error).__name__}: {error}", "error")
            )
            answer = failure if error else future.result()
        yield Measured(path, answer.value, answer.source)
    for path in paths[_MAX_NETWORK_TARGETS:]:
        unknown = Unknown(
            f"the rules ask for more than {_MAX_NETWORK_TARGETS} names and addresses;"
            f" only the first {_MAX_NETWORK_TARGETS} are checked",
            "unsupported",
        )
        yield Measured(path, unknown)


def resolve_host_name(name: str, _deadline: float) -> ReachabilityResult:
    """Look a name up as programs on this machine do, /etc/hosts included."""
    found = _look_up_host(name)
    if isinstance(found, ReachabilityResult):
        return found
    addresses = dict.fromkeys(address[4][0] for address in found)
    return ReachabilityResult(
        True, f"it resolves to {', '.join(list(addresses)[:_MAX_ADDRESSES_PER_HOST])}"
    )


def _look_up_host(host: str, port: int | None = None) -> Addresses | ReachabilityResult:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME_ERRORS:
            return ReachabilityResult(False, f"{host} has no address in DNS or /etc/hosts")
        return ReachabilityResult(Unknown(f"{host} can't be looked up: {error.strerror}"))
    except (OSError, ValueError):  # such as a label of more than 63 characters
        return ReachabilityResult(Unknown(f"{host} isn't a valid host name", "invalid"))


def connect_to_address(target: str, deadline: float) -> ReachabilityResult:
    """Connect to HOST.PORT, one of its addresses after the other, without sending anything.

    On port 443 with a TLS handshake that checks the certificate.
    """
    address = split_host_dot_port(target)
    if address is None:
        return ReachabilityResult(
            Unknown(
                f"{target} isn't a valid address: expected a host and a port, as in mail.test.587",
                "invalid",
            )
        )
    host, port = address
    found = _look_up_host(host, port)
    answer = (
        found if isinstance(found, ReachabilityResult) else _try_addresses(found, host, deadline)
    )
    if answer.value is False and _has_proxy(host.lower()):
        proxy = "programs that use HTTPS_PROXY may reach it"
        return ReachabilityResult(Unknown(f"not reachable directly ({answer.source}), but {proxy}"))
    return answer


def _has_proxy(host: str) -> bool:
    if host in ("localhost", "::1") or host.startswith("127."):
        return False  # no program asks a proxy for it
    return any(find_proxy(kind, host) for kind in ("http", "https", "all"))


def _try_addresses(addresses: Addresses, host: str, deadline: float) -> ReachabilityResult:
    """Return whether one of the addresses accepts; unknown if any may."""
    answers = []
    addresses = addresses[:_MAX_ADDRESSES_PER_HOST]
    for number, address in enumerate(addresses):
        seconds = (deadline - time.monotonic()) / (len(addresses) - number)
        answers.append(_try_address(address, host, max(seconds, 0.1)))
        if answers[-1].value is True:
            return answers[-1]
    return next((a for a in answers if isinstance(a.value, Unknown)), answers[0])


def _try_address(address: tuple[Any, ...], host: str, seconds: float) -> ReachabilityResult:
    import ssl

    family, kind, protocol, _, (ip, port, *_) = address
    try:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(seconds)
            connection.connect(address[4])
            if port == _HTTPS_PORT:
                context = ssl.create_default_context()
                context.wrap_socket(connection, server_hostname=host).close()
        return ReachabilityResult(True, f"{ip} accepts connections on port {port}")
    except TimeoutError:
        return ReachabilityResult(Unknown(f"{ip} didn't answer on port {port}", "timeout"))
    except ssl.SSLCertVerificationError as error:
        file, folder, *_ = ssl.get_default_verify_paths()
        if file is None and not (folder and os.listdir(folder)):
            return ReachabilityResult(
                Unknown("the certificate can't be checked: this machine has no CA certificates")
            )
        return ReachabilityResult(
            False, f"its certificate isn't valid: {error.verify_message.rstrip('.')}"
        )
    except OSError as error:  # of TLS too
        reason = f"{ip}, port {port}: {error.strerror or type(error).__name__}"
        if isinstance(error, ssl.SSLError) or error.errno in _UNREACHABLE_ERRORS:
            return ReachabilityResult(False, reason)
        return ReachabilityResult(
            Unknown(reason, "permission" if error.errno == errno.EACCES else "error")
        )
