"""Fresh hosts: bare systems in containers, gone afterwards."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .machine import Machine, bridge, copy_checkout, debootstrap, dress

CACHE = Path("/var/cache/salt-kvm-tests")
CHECKOUT = "/srv/salt-kvm"


@pytest.fixture(scope="session")
def alone():
    """One run at a time; what a killed one left is removed."""
    for tool in ("debootstrap", "systemd-nspawn", "nsenter", "iptables", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed; tools/test installs it")
    if os.getuid() != 0:
        pytest.skip("only root can make containers")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in CACHE.glob("skvm-*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


@pytest.fixture(scope="session")
def bare(alone):
    """The directory of a bare system; it is kept for the next run."""
    base = CACHE / "bare"
    if not base.is_dir():
        debootstrap(base)
    return base


@pytest.fixture(scope="session")
def network(alone):
    with bridge():
        yield


@pytest.fixture(scope="module")
def host(request, bare, network):
    """A fresh host with the checkout on it; the module says whether with systemd."""
    name = f"skvm-{os.getpid()}"
    root = CACHE / name
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", bare, root], check=True)
        binds = dress(root, "node1")
        copy_checkout(root / CHECKOUT.lstrip("/"))
        machine = Machine(name, root, systemd=request.module.SYSTEMD, binds=binds)
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
        root.with_name(f"{name}.log").unlink(missing_ok=True)
