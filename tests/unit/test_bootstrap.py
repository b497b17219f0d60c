"""Libraries in the running Python, and daemons without a service manager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from salt_kvm import bootstrap
from salt_kvm.backend.hosts import daemons, python

ABSENT = "salt-kvm-absent"


class Refused(Exception):
    """What a package manager raises that can't even start."""


def salt(install: Any = None, *, test: bool = False) -> dict[str, Any]:
    return {"__opts__": {"test": test}, "__salt__": {"pip.install": install}}


@pytest.mark.parametrize(
    ("requirement", "missing"),
    [
        ("pytest", False),
        (f"pytest=={pytest.__version__}", False),
        ("pytest==0.0.1", True),
        ("pytest>=0.0.1", False),
        ("pytest [dev]", False),
        (ABSENT, True),
    ],
)
def test_what_is_missing(requirement: str, missing: bool) -> None:
    seen = python.describe([requirement])
    assert seen["missing"] == ([requirement] if missing else [])
    assert seen["complete"] is not missing
    assert seen["executable"] == sys.executable


def test_a_single_requirement_is_not_its_letters() -> None:
    ret = bootstrap.libraries(salt(test=True), Refused, "libraries", ABSENT)
    assert list(ret["changes"]) == [ABSENT]
    assert python.describe(ABSENT)["missing"] == [ABSENT]


def test_nothing_is_run_where_nothing_is_missing() -> None:
    ret = bootstrap.libraries(salt(), Refused, "libraries", ["pytest"])
    assert (ret["result"], ret["changes"]) == (True, {})


@pytest.mark.parametrize("test", [True, False])
def test_a_dry_run_predicts_what_the_real_one_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: bool
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def install(pkgs: list[str]) -> dict[str, Any]:
        assert not test
        before = tmp_path.stat().st_mtime_ns
        for name in pkgs:
            info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        # As on a file system with a coarse clock: Python's own cache notices nothing.
        os.utime(tmp_path, ns=(before, before))
        return {"retcode": 0}

    ret = bootstrap.libraries(salt(install, test=test), Refused, "libraries", ["pytest", ABSENT])
    assert ret["changes"] == {ABSENT: {"old": None, "new": "installed"}}
    assert ret["result"] is (None if test else True)
    assert sys.executable in ret["comment"]


def test_what_pip_says_is_in_the_comment() -> None:
    def install(pkgs: list[str]) -> dict[str, Any]:
        return {"retcode": 1, "stderr": f"no compiler for {pkgs[0]}"}

    ret = bootstrap.libraries(salt(install), Refused, "libraries", [ABSENT])
    assert (ret["result"], ret["changes"]) == (False, {})
    assert f"no compiler for {ABSENT}" in ret["comment"]


def test_pip_that_can_not_start_is_a_failure_not_a_traceback() -> None:
    def install(pkgs: list[str]) -> dict[str, Any]:
        raise Refused("there is no pip")

    ret = bootstrap.libraries(salt(install), Refused, "libraries", [ABSENT])
    assert ret["result"] is False
    assert "there is no pip" in ret["comment"]


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(daemons, "RUN", tmp_path)
    monkeypatch.setattr(daemons, "PROGRAMS", tmp_path)
    return tmp_path


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_daemon_is_started_once(bin_dir: Path) -> None:
    pid = bin_dir / "sleep.pid"
    program(bin_dir, "sleep", f"sleep 30 >/dev/null 2>&1 & echo $! > {pid}")
    predicted = bootstrap.daemon(salt(test=True), "sleep")
    assert predicted["result"] is None
    assert not pid.exists()
    started = bootstrap.daemon(salt(), "sleep")
    try:
        time.sleep(0.1)
        again = bootstrap.daemon(salt(), "sleep")
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)
    assert started["result"] is True
    assert started["changes"] == predicted["changes"] != {}
    assert (again["result"], again["changes"]) == (True, {})


@pytest.mark.parametrize("content", ["", "no number", "999999999", "this process"])
def test_a_stale_pid_file_is_no_daemon(bin_dir: Path, content: str) -> None:
    content = str(os.getpid()) if content == "this process" else content
    (bin_dir / "libvirtd.pid").write_text(content)
    assert not daemons.running("libvirtd")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo the address is taken >&2; exit 1", "the address is taken"),
        ("exit 0", "went down again"),
        (None, "not installed"),
    ],
)
def test_a_daemon_that_does_not_come_up(bin_dir: Path, body: str | None, said: str) -> None:
    if body is not None:
        program(bin_dir, "libvirtd", body)
    ret = bootstrap.daemon(salt(), "libvirtd")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert said in ret["comment"]


# What a daemon is to those who look at its name, its arguments and its pid file.
STAND_IN = """
import os, signal, sys, time
from pathlib import Path
folder, arguments = Path(sys.argv[1]), sys.argv[2:]
if "-d" in arguments and (child := os.fork()):
    # It may have come and gone before it is looked for.
    while not (folder / f"begun-{child}").exists():
        time.sleep(0.01)
    os._exit(0)
Path("/proc/self/comm").write_text("libvirtd")
(folder / "arguments").write_text(" ".join(arguments))
signal.signal(signal.SIGTERM, lambda *_: ((folder / "libvirtd.pid").unlink(), os._exit(0)))
(folder / "new").write_text(str(os.getpid()))
(folder / "new").rename(folder / "libvirtd.pid")
(folder / f"begun-{os.getpid()}").touch()
time.sleep(60)
"""


@pytest.fixture
def stand_in(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Return what starts a daemon with arguments, and tells its process."""
    monkeypatch.setattr(daemons, "SYSTEMD", bin_dir / "none")
    (bin_dir / "stand_in.py").write_text(STAND_IN)
    run = f"exec {sys.executable} {bin_dir}/stand_in.py {bin_dir}"
    program(bin_dir, "libvirtd", f'{run} "$@" >/dev/null 2>&1')
    pid = bin_dir / "libvirtd.pid"

    def start(arguments: str) -> int:
        line = [str(bin_dir / "libvirtd"), *arguments.split()]
        subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not daemons.running("libvirtd") and time.monotonic() < deadline:
            time.sleep(0.01)
        return int(pid.read_text())

    yield start
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGTERM)


def test_a_daemon_is_restarted_with_the_arguments_it_had(
    bin_dir: Path, stand_in: Callable[[str], int]
) -> None:
    before = stand_in("-d --listen")
    predicted = bootstrap.daemon(salt(test=True), "libvirtd", anew=True)
    assert daemons.running("libvirtd")
    ret = bootstrap.daemon(salt(), "libvirtd", anew=True)
    assert (predicted["result"], ret["result"]) == (None, True), ret
    assert ret["changes"] == predicted["changes"]
    assert ret["changes"] == {"libvirtd": {"old": "running", "new": "restarted"}}
    assert int((bin_dir / "libvirtd.pid").read_text()) != before
    assert "--listen" in (bin_dir / "arguments").read_text()


def test_a_daemon_in_the_foreground_is_left_to_who_started_it(
    stand_in: Callable[[str], int],
) -> None:
    """As the first process of a container it would take the guests with it."""
    stand_in("--listen")
    ret = bootstrap.daemon(salt(), "libvirtd", anew=True)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "restart it where it was started" in ret["comment"]
    assert daemons.running("libvirtd")
