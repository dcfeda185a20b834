"""Names and addresses that rules ask for, against real servers on loopback."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine_server import make_certificates
from preflight.facts import network
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.network import ReachabilityResult, connect_to_address, resolve_host_name
from preflight.model.facts import Unknown

Addresses = Callable[[str, "list[Any] | Exception"], None]
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_RESOLVER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def resolves_to(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """Return a function that says which addresses a name has, or how its look-up fails."""
    names: dict[str, list[Any] | Exception] = {}

    def look_up(host: str, port: int | None, **_: object) -> list[Any]:
        found = names[host]
        if isinstance(found, Exception):
            raise found
        return [
            (
                socket.AF_INET6 if ":" in ip else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (ip, port),
            )
            for ip in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names.__setitem__


@contextmanager
def serving(handle: Callable[[socket.socket], None] | None = None) -> Iterator[int]:
    """Listen on a port of 127.0.0.1; `handle` gets each connection, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection:
                        handle and handle(connection)
                except OSError:
                    if listener.fileno() < 0:
                        return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(target: str, seconds: float = 5) -> ReachabilityResult:
    return connect_to_address(target, time.monotonic() + seconds)


def reason(answer: ReachabilityResult) -> tuple[str, str]:
    assert isinstance(answer.value, Unknown)
    return answer.value.kind, answer.value.reason


def test_a_port_that_accepts_and_one_that_refuses() -> None:
    with serving() as port:
        assert connect(f"127.0.0.1.{port}") == ReachabilityResult(
            True, f"127.0.0.1 accepts connections on port {port}"
        )
        assert connect(f"localhost.{port}").value is True
    port = free_port()
    assert connect(f"127.0.0.1.{port}") == ReachabilityResult(
        False, f"127.0.0.1, port {port}: Connection refused"
    )


def test_a_host_that_drops_packets_is_unknown_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]  # the queue is full: no more SYN is answered
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        answer = connect(f"127.0.0.1.{port}", 0.4)
        assert time.monotonic() - started < 3
        for connection in waiting:
            connection.close()
    assert reason(answer) == ("timeout", f"127.0.0.1 didn't answer on port {port}")


def test_one_address_that_accepts_is_enough(resolves_to: Addresses) -> None:
    with serving() as port:
        resolves_to("two.test", ["127.0.0.2", "127.0.0.1"])
        resolves_to("six.test", ["::1"])
        resolves_to("far.test", ["::ffff:0:0", "127.0.0.1"])  # a family without a route comes first
        assert connect(f"two.test.{port}").value is True
        assert connect(f"far.test.{port}").value is True
        assert connect(f"six.test.{port}").value is False, "nobody listens on IPv6"


def test_an_ipv6_address_in_brackets(resolves_to: Addresses) -> None:
    with serving() as port:
        resolves_to("::1", ["127.0.0.1"])
        assert connect(f"[::1].{port}").value is True
        assert connect(f"::1.{port}").value is True


def serve_tls(folder: Path) -> Callable[[socket.socket], None]:
    make_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return lambda connection: context.wrap_socket(connection, server_side=True).close()


def test_certificates_are_checked_on_443(
    tmp_path: Path, resolves_to: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("elsewhere", "other.test"):
        resolves_to(name, ["127.0.0.1"])
    with serving(serve_tls(tmp_path)) as port:
        assert connect(f"elsewhere.{port}").value is True, "no TLS on another port"
        monkeypatch.setattr(network, "_HTTPS_PORT", port)
        answer = connect(f"elsewhere.{port}")
        assert answer == ReachabilityResult(
            False, "its certificate isn't valid: self-signed certificate"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert connect(f"elsewhere.{port}").value is True
        answer = connect(f"other.test.{port}")
        assert answer.value is False
        assert "Hostname mismatch, certificate is not valid for 'other.test'" in answer.source
        (tmp_path / "empty").mkdir()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
        assert "this machine has no CA certificates" in reason(connect(f"elsewhere.{port}"))[1]


def test_what_does_not_speak_tls_on_443(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda connection: connection.sendall(b"220 mail ESMTP\r\n")) as port:
        monkeypatch.setattr(network, "_HTTPS_PORT", port)
        assert connect(f"127.0.0.1.{port}").value is False
    never = threading.Event()
    with serving(lambda connection: never.wait(2) and None) as port:
        monkeypatch.setattr(network, "_HTTPS_PORT", port)
        assert reason(connect(f"127.0.0.1.{port}", 0.3))[0] == "timeout"
        never.set()


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (errno.ENETUNREACH, False),
        (errno.EHOSTUNREACH, False),
        (errno.EACCES, "permission"),  # a firewall of this machine
        (errno.EMFILE, "error"),
        (errno.ETIMEDOUT, "timeout"),
    ],
)
def test_what_a_failure_means(
    number: int, value: object, resolves_to: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to("a.test", ["127.0.0.1"])

    def fail(*_: object) -> None:
        raise OSError(number, "it failed")

    monkeypatch.setattr(socket.socket, "connect", fail)
    answer = connect("a.test.25")
    assert (answer.value if answer.value is False else reason(answer)[0]) == value


@pytest.mark.parametrize("target", ["mail.test", "mail.test.99999", "mail.test.0", ".25", "25"])
def test_what_is_no_host_and_port_is_said(target: str) -> None:
    assert reason(connect(target))[0] == "invalid"


def test_names(resolves_to: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to("a.test", ["127.0.0.1", "::1"])
    resolves_to("gone.test", NO_SUCH_NAME)
    resolves_to("later.test", NO_RESOLVER)
    resolves_to("empty.test", socket.gaierror(socket.EAI_NODATA, "No address"))
    resolves_to("x" * 64, UnicodeError("label too long"))
    assert resolve_host_name("a.test", 0) == ReachabilityResult(
        True, "it resolves to 127.0.0.1, ::1"
    )
    assert resolve_host_name("gone.test", 0).value is False
    assert resolve_host_name("empty.test", 0).value is False
    assert connect("gone.test.25") == ReachabilityResult(
        False, "gone.test has no address in DNS or /etc/hosts"
    )
    assert "Temporary failure" in reason(resolve_host_name("later.test", 0))[1]
    assert "Temporary failure" in reason(connect("later.test.25"))[1]
    assert reason(resolve_host_name("x" * 64, 0))[0] == "invalid"


def test_behind_a_proxy_a_direct_failure_is_unknown(
    resolves_to: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "own.test")
    resolves_to("gone.test", NO_SUCH_NAME)
    resolves_to("own.test", NO_SUCH_NAME)
    assert reason(connect("gone.test.443"))[1] == (
        "not reachable directly (gone.test has no address in DNS or /etc/hosts), but programs"
        " that use HTTPS_PROXY may reach it"
    )
    assert connect("own.test.443").value is False, "it is asked directly by everybody"
    assert resolve_host_name("gone.test", 0).value is False


def test_what_hangs_does_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        return never.wait(60) if host == "slow.test" else real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with serving() as port:
        names = {"resolve": ("slow.test", "127.0.0.1")}
        names["connect"] = ("slow.test.25", f"127.0.0.1.{port}")
        asked = [("net", kind, name) for kind, group in names.items() for name in group]
        context = MeasurementContext(MeasurementOptions(online=True), time.monotonic() + 1.2)
        started = time.monotonic()
        facts = {fact.path: fact.value for fact in network.measure_network(context, asked)}
        took = time.monotonic() - started
        never.set()
    assert took < 15  # a busy machine; who waits for the name takes a minute
    late = Unknown("slow.test didn't answer in time", "timeout")
    late_port = Unknown("slow.test.25 didn't answer in time", "timeout")
    assert facts == dict(zip(asked, (late, True, late_port, True), strict=True))


def test_a_fault_with_one_name_takes_no_other_along(resolves_to: Addresses) -> None:
    resolves_to("a.test", ["127.0.0.1"])
    resolves_to("b.test", RuntimeError("out of luck"))
    asked = [("net", "resolve", name) for name in ("a.test", "b.test")]
    context = MeasurementContext(MeasurementOptions(online=True), time.monotonic() + 10)
    values = [fact.value for fact in network.measure_network(context, asked)]
    assert values == [True, Unknown("b.test: RuntimeError: out of luck", "error")]


def test_a_bounded_number_is_asked(resolves_to: Addresses) -> None:
    names = [f"n{number}.test" for number in range(203)]
    for name in names:
        resolves_to(name, ["127.0.0.1"])
    asked = [("net", "resolve", name) for name in names]
    context = MeasurementContext(MeasurementOptions(online=True), time.monotonic() + 10)
    values = [fact.value for fact in network.measure_network(context, asked)]
    assert values[:200] == [True] * 200
    reason = "the rules ask for more than 200 names and addresses; only the first 200 are checked"
    assert values[200:] == [Unknown(reason, "unsupported")] * 3
