"""Libraries in the running Python, and daemons without a service manager."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from salt_kvm import bootstrap
from salt_kvm.backend import daemons, python

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
