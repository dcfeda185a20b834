"""A value that several threads share, and the first that needs it computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value that is computed once, by the first thread that calls; the others wait for it.

    Every caller gets the same value or the same exception.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._value: list[T] = []
        self._error: Exception | None = None

    def __call__(self) -> T:
        with self._lock:
            if not self._value and self._error is None:
                try:
                    self._value.append(self._compute())
                except Exception as error:  # noqa: BLE001 - raised again for every caller
                    self._error = error
        if self._error is not None:
            raise self._error
        return self._value[0]

    def peek(self) -> T | None:
        """Return the value if it has been computed, without waiting for it."""
        return self._value[0] if self._value else None
