"""What a result was measured on: machine, commit, spread. Figures without these mean nothing."""

import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Final

FSYNCS: Final = 50


def machine_line() -> str:
    """Processor, cores, Python and commit, in one line."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"commit {_commit()}"
    )


def spread(values: list[float]) -> dict[str, float]:
    """Smallest, middle and largest of several runs."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def fsync_ms(folder: Path) -> dict[str, float]:
    """How long the disk below `folder` takes to make 4 KiB durable, in milliseconds."""
    path = folder / "fsync-probe"
    times = []
    with path.open("wb") as file:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    path.unlink()
    return {name: round(value, 3) for name, value in spread(times).items()}


def lookup_ns(entries: int = 1_000_000, times: int = 200_000) -> float:
    """Nanoseconds to look up a random key of a large dictionary: how fast memory is just now.

    An engine waits for memory more than for the processor, and shared machines drift by a factor
    of two within minutes; a rate without this cannot be compared with another.
    """
    table = {number: number for number in range(entries)}
    keys = [number * 7_919 % entries for number in range(times)]
    began = time.perf_counter()
    for key in keys:
        table[key]
    return (time.perf_counter() - began) / times * 1e9


def percentiles_ms(latencies_s: list[float]) -> dict[str, float]:
    """p50, p99 and p99.9 in milliseconds."""
    ranked = sorted(latencies_s)
    return {
        name: round(ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e3, 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
