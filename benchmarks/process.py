"""Whole processes: how long they take, and in a run of its own, what they ask of libvirt."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNTING = Path(__file__).parent / "counting"
# Binding calls that libvirt's client library answers by itself.
LOCAL = re.compile(
    r"vir(Initialize|RegisterErrorHandler|GetLastError|ResetLastError|Event\w+|ConnectIsAlive"
    r"|\w+(Free|Ref|GetName|GetUUID|GetUUIDString|GetID|GetConnect))"
)


class Failed(Exception):
    """A process that ended with a failure; its last words."""


@dataclass(frozen=True)
class Sample:
    """One run: seconds on the clock, seconds of CPU (children included), standard output."""

    wall: float
    cpu: float
    output: str


@dataclass(frozen=True)
class Counts:
    """What a run asked of libvirt, and the programs that it started."""

    calls: Counter[str]
    programs: Counter[str]

    @property
    def connections(self) -> int:
        return sum(n for name, n in self.calls.items() if name.startswith("virConnectOpen"))

    @property
    def round_trips(self) -> int:
        return sum(n for name, n in self.calls.items() if not LOCAL.fullmatch(name))


def run(command: Sequence[str], extra: dict[str, str] | None = None) -> Sample:
    """Run a command to its end and measure it.

    :raises Failed: when it does not end with success
    """
    environment = {**os.environ, **(extra or {})}
    # A host keeps the byte code of what it loads.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output = out.read()
        if process.returncode:
            raise Failed(f"{' '.join(command)}: {output[-300:]} {err.read()[-300:]}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, output)


def count(command: Sequence[str]) -> Counts:
    """Run a command once more with every call of libvirt's binding counted."""
    calls: Counter[str] = Counter()
    programs: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(COUNTING), *filter(None, [os.environ.get("PYTHONPATH")])]
        run(command, {"PYTHONPATH": os.pathsep.join(paths), "BENCH_COUNTS": folder})
        for path in Path(folder).iterdir():
            told = json.loads(path.read_text())
            calls.update(told["calls"])
            programs.update(told["programs"])
    return Counts(calls, programs)
