"""Fresh hosts: bare systems in containers, gone afterwards."""

import os
import shutil
import subprocess

import pytest

from .machine import CACHE, Machine, bare_system, bridge, copy_checkout, dress, locked

CHECKOUT = "/srv/salt-kvm"


@pytest.fixture(scope="session")
def alone():
    """One run at a time; what a killed one left is removed."""
    for tool in ("debootstrap", "systemd-nspawn", "nsenter", "iptables", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed; tools/test installs it")
    if os.getuid() != 0:
        pytest.skip("only root can make containers")
    with locked("lock"):
        for left in CACHE.glob("skvm-*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


@pytest.fixture(scope="session")
def bare(alone):
    return bare_system()


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
