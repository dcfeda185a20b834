"""Options of log drivers that Docker refuses, in its words.

What is said was asked of Docker 20.10. Source: moby, daemon/logger and its drivers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.collect.context import Engine
from preflight.facts.driver_option_rules import (
    GO_BOOLEAN_PATTERN,
    DriverOptionRule,
    find_driver_option_refusals,
)
from preflight.facts.nested_values import get_nested_value

_INVALID_BOOLEAN_MESSAGE = 'strconv.ParseBool: parsing "{}": invalid syntax'
_LOG_SIZE_PATTERN = r"(?i)-1|(?:\d+(?:\.\d*)?|\.\d+) ?(?:[kmgtp]i?b?|b)?"
_TRUE_WORDS = ("1", "t", "true")
_SYSLOG_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", *(f"local{number}" for number in range(8))),
)
_OPTIONS_OF_ALL_DRIVERS = {
    *("cache-compress", "cache-disabled", "cache-max-file", "cache-max-size", "max-buffer-size"),
    "mode",
}
_LOG_TAG_AND_LABEL_OPTIONS = {"env", "env-regex", "labels", "labels-regex", "tag"}
_OPTIONS_BY_LOG_DRIVER = {
    "json-file": _LOG_TAG_AND_LABEL_OPTIONS | {"compress", "max-file", "max-size"},
    "local": {"compress", "max-file", "max-size"},
    "journald": _LOG_TAG_AND_LABEL_OPTIONS,
    "gelf": _LOG_TAG_AND_LABEL_OPTIONS
    | {"gelf-address", "gelf-compression-level", "gelf-compression-type"}
    | {"gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"},
    "fluentd": _LOG_TAG_AND_LABEL_OPTIONS
    | {"fluentd-address", "fluentd-async", "fluentd-async-connect", "fluentd-buffer-limit"}
    | {"fluentd-async-reconnect-interval", "fluentd-force-stop-async-send", "fluentd-max-retries"}
    | {"fluentd-read-timeout", "fluentd-request-ack", "fluentd-retry-wait"}
    | {"fluentd-sub-second-precision", "fluentd-write-timeout"},
    "syslog": _LOG_TAG_AND_LABEL_OPTIONS
    | {"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert"}
    | {"syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"},
}
_UNKNOWN_OPTION_MESSAGE_BY_DRIVER = {"local": "unknown log opt '{option}' for log driver local"}
_UNKNOWN_LOG_OPTION_MESSAGE = "unknown log opt '{option}' for {driver} log driver"
_FILE_LOG_DRIVERS = ("json-file", "local")
_LOG_OPTION_RULES = (
    DriverOptionRule(
        (), "mode", "|blocking|non-blocking", "logger: logging mode not supported: {}"
    ),
    DriverOptionRule((), "max-buffer-size", _LOG_SIZE_PATTERN, "invalid size: '{}'"),
    DriverOptionRule(("fluentd",), "fluentd-buffer-limit", _LOG_SIZE_PATTERN, "invalid size: '{}'"),
    DriverOptionRule(
        ("gelf",), "gelf-compression-type", "gzip|zlib|none",
        'unknown value "{}" for log opt "gelf-compression-type" for gelf log driver',
    ),
    DriverOptionRule(
        ("gelf",), "gelf-compression-level", r"-1|\d",
        'unknown value "{}" for log opt "gelf-compression-level" for gelf log driver',
    ),
    DriverOptionRule(
        ("gelf",), "gelf-address", r"(?!udp://|tcp://).*|.*://.*:\d+/?",
        "gelf: please provide gelf-address as proto://host:port",
    ),
    DriverOptionRule(_FILE_LOG_DRIVERS, "max-size", _LOG_SIZE_PATTERN, "invalid size: '{}'"),
    DriverOptionRule(
        _FILE_LOG_DRIVERS, "max-file", r"[-+]?\d+", 'strconv.Atoi: parsing "{}": invalid syntax'
    ),
    DriverOptionRule(
        _FILE_LOG_DRIVERS, "max-file", r"(?s)(?!0+$|-\d+$).*", "max-file cannot be less than 1"
    ),
    DriverOptionRule(_FILE_LOG_DRIVERS, "compress", GO_BOOLEAN_PATTERN, _INVALID_BOOLEAN_MESSAGE),
    DriverOptionRule(("fluentd",), "fluentd-async", GO_BOOLEAN_PATTERN, _INVALID_BOOLEAN_MESSAGE),
    DriverOptionRule(
        ("syslog",), "syslog-facility", rf"\d+|{'|'.join(_SYSLOG_FACILITIES)}",
        "invalid syslog facility",
    ),
    DriverOptionRule(
        ("syslog",), "syslog-format", "rfc3164|rfc5424|rfc5424micro", "Invalid syslog format"
    ),
    DriverOptionRule(
        ("syslog",), "syslog-address", r"(?:tcp|tcp\+tls|udp|unix|unixgram)://.*",
        "syslog-address should be in form proto://address, got {}",
    ),
    DriverOptionRule(
        ("gelf",), "gelf-address", r"(?:udp|tcp)://.*",
        "gelf-address should be in form proto://address, got {}",
    ),
)  # fmt: skip
_REQUIRED_OPTION_BY_LOG_DRIVER = {
    "gelf": ("gelf-address", "gelf-address is a required parameter"),
    "awslogs": ("awslogs-group", "must specify a value for log opt 'awslogs-group'"),
    "logentries": ("logentries-token", "Missing logentries token"),
    "splunk": ("splunk-url", "splunk: splunk-url is expected"),
}


def find_log_option_refusals(
    service: Mapping[str, Any], engine: Engine, *, is_engine_version_covered: bool
) -> Iterator[str]:
    """Yield what is said to the options of a service's log driver."""
    given = get_nested_value(service, "logging.options")
    named, default = get_nested_value(service, "logging.driver"), engine.info.get("LoggingDriver")
    driver = str(named or default or "")
    options = {key: str(v) for key, v in given.items()} if isinstance(given, Mapping) else {}
    if driver in ("", "none") or not (named or options):
        return
    known = _OPTIONS_BY_LOG_DRIVER.get(driver)
    for option in options if known and is_engine_version_covered else ():
        if option not in (known or ()) and option not in _OPTIONS_OF_ALL_DRIVERS:
            message = _UNKNOWN_OPTION_MESSAGE_BY_DRIVER.get(driver, _UNKNOWN_LOG_OPTION_MESSAGE)
            yield message.format(option=option, driver=driver)
    yield from find_driver_option_refusals(_LOG_OPTION_RULES, driver, options)
    option, message = _REQUIRED_OPTION_BY_LOG_DRIVER.get(driver, ("", ""))
    is_complete = driver != default  # else options of the engine's configuration are added
    if option and is_complete and not options.get(option):
        yield message
    has_mode = options.get("mode") == "non-blocking" or not (is_complete or "mode" in options)
    if options.get("max-buffer-size") and not has_mode:
        yield "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
    is_compressed = options.get("compress", "true").lower() in _TRUE_WORDS
    if driver == "local" and is_complete and is_compressed and options.get("max-file") == "1":
        yield "compression cannot be enabled when max file count is 1"
    if driver == "json-file" and options.get("compress", "").lower() in _TRUE_WORDS:
        files = options.get("max-file", "1" if is_complete else "2")
        has_size = options.get("max-size") or not is_complete
        if not has_size or (files.isdecimal() and int(files) < 2):
            yield "compress cannot be true when max-file is less than 2 or max-size is not set"
