"""Memory of this process and of all it has started, Ray's among them, watched from a thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import psutil

SAMPLE_SECONDS = 0.5
COORDINATOR = "ray::SplitCoordinator"  # what Ray Data's split coordinator calls its process


class MemorySample(NamedTuple):
    """At one time [s since the epoch]: memory in bytes.

    Attributes:
        total: proportional set sizes together, so that shared pages count once.
        driver: what this process has to itself.
        coordinator: what Ray Data's split coordinators have to themselves.
        largest: what that process of all has to itself that has most.
    """

    time: float
    total: int
    driver: int
    coordinator: int
    largest: int


class Watch(threading.Thread):
    """Samples until its block ends. Each sample takes some milliseconds a process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[MemorySample] = []
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        self.samples.append(_sample())
        while not self._over.wait(SAMPLE_SECONDS):
            self.samples.append(_sample())

    @property
    def peak(self) -> int:
        """Largest total [bytes]."""
        return max(sample.total for sample in self.samples)

    @property
    def largest(self) -> int:
        """The most that any process had to itself [bytes]."""
        return max(sample.largest for sample in self.samples)

    def at(self, moment: float) -> MemorySample:
        """The sample nearest to a time [s since the epoch]."""
        return min(self.samples, key=lambda sample: abs(sample.time - moment))


def megabytes(size: float) -> float:
    """Bytes as MiB."""
    return round(size / 2**20, 1)


def _sample() -> MemorySample:
    total = driver = coordinator = largest = 0
    for title, pid, memory in _memory():
        total += memory.pss
        driver += memory.uss if pid == os.getpid() else 0
        coordinator += memory.uss if title.startswith(COORDINATOR) else 0
        largest = max(largest, memory.uss)
    return MemorySample(time.time(), total, driver, coordinator, largest)


def _memory() -> Iterator[tuple[str, int, psutil._ntuples.pfullmem]]:
    """Title, number and memory of each process."""
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            yield " ".join(process.cmdline()), process.pid, process.memory_full_info()
        except psutil.Error:
            continue  # it ended
