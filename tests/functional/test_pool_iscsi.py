"""``iscsi-direct`` pools against a real target: QEMU's and libvirt's own client needs no kernel."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from waiting import SECONDS, wait_for

from .conftest import PREFIX
from .daemon import Daemon

TARGET = "iqn.2024-01.com.example:guests"
DRIVERS = "/usr/lib/*/libvirt/storage-backend/libvirt_storage_backend_iscsi-direct.so"
POOL, SECRET = f"{PREFIX}san", f"{PREFIX}target"
# tgt takes 12 to 16 characters.
PASSWORD = f"chap{os.getpid():010d}"
SOURCE = {
    "hosts": [{"name": "127.0.0.1"}],
    "device": TARGET,
    "initiator": "iqn.2024-01.com.example:node1",
}


@pytest.fixture(scope="module")
def san(tmp_path_factory):
    """A libvirtd that has the driver, and in its network a target with one disk of 8 MiB."""
    if shutil.which("tgtd") is None or not list(Path("/").glob(DRIVERS[1:])):
        pytest.skip("no tgt or no iscsi-direct driver of libvirt here; tools/test installs them")
    root = tmp_path_factory.mktemp("san")
    os.chmod(root, 0o755)
    daemon = Daemon(root)
    try:
        daemon.start()
        with (root / "disk").open("wb") as file:
            file.truncate(8 * 1024**2)
        inside = ["nsenter", "-t", str(daemon.holder.pid), "-m", "-n"]
        serve = ["tgtd", "-f", "-C", str(os.getpid()), "--iscsi", "portal=127.0.0.1:3260"]
        with (root / "tgtd.log").open("wb") as log:
            target = subprocess.Popen([*inside, *serve], stdout=log, stderr=log)
        daemon.tgtadm = lambda *words: subprocess.run(
            [*inside, "tgtadm", "-C", str(os.getpid()), "--lld", "iscsi", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        wait_for(lambda: daemon.tgtadm("--op", "show", "--mode", "target").returncode == 0, "tgtd")
        for words in (
            f"--op new --mode target --tid 1 -T {TARGET}",
            f"--op new --mode logicalunit --tid 1 --lun 1 -b {root}/disk",
            "--op bind --mode target --tid 1 -I ALL",
        ):
            done = daemon.tgtadm(*words.split())
            assert done.returncode == 0, done.stderr
        try:
            yield daemon
        finally:
            # It does not stop for a termination while it has a target.
            target.kill()
            target.wait(SECONDS)
    finally:
        daemon.close()


@pytest.fixture
def state(run, san):
    """Return what runs a state against that libvirtd."""

    def go(function, *, test=False, **fields):
        return run(test=test)(function, connection=san.uri, **fields)

    return go


def converged(state, function, **fields):
    dry = state(function, test=True, **fields)
    real = state(function, **fields)
    assert real["result"] is True, real["comment"]
    assert dry["changes"] == real["changes"]
    assert state(function, **fields)["changes"] == {}
    return real


def test_a_pool_over_a_target_has_its_disks_as_volumes(state, modules, san):
    fields = {"name": POOL, "type": "iscsi-direct", "source": SOURCE}
    converged(state, "kvm_pool.running", **fields)
    volumes = modules["kvm_volume.list"](POOL, connection=san.uri)
    assert volumes["unit:0:0:1"]["capacity"] > 7 * 1024**2
    told = state("kvm_volume.present", name=f"{POOL}/unit:0:0:1", capacity="7MiB")
    assert (told["result"], told["changes"]) == (True, {}), told["comment"]
    told = state("kvm_volume.wiped", name=f"{POOL}/unit:0:0:1")
    assert "wipe it once with kvm_volume.wipe" in told["comment"]
    converged(state, "kvm_pool.stopped", **fields)
    converged(state, "kvm_pool.absent", name=POOL)


def test_a_login_takes_its_password_from_a_secret(state, san):
    for words in (
        f"--op new --mode account --user node1 --password {PASSWORD}",
        "--op bind --mode account --tid 1 --user node1",
    ):
        done = san.tgtadm(*words.split())
        assert done.returncode == 0, done.stderr
    try:
        refused = state("kvm_pool.running", name=POOL, type="iscsi-direct", source=SOURCE)
        assert refused["result"] is False
        auth = {"type": "chap", "username": "node1", "usage": SECRET}
        fields = {"name": POOL, "type": "iscsi-direct", "source": {**SOURCE, "auth": auth}}
        for test in (True, False):
            told = state("kvm_pool.running", test=test, **fields)
            assert told["result"] is False
            assert f"there is no secret iscsi/{SECRET}; declare it" in told["comment"]
        converged(state, "kvm_secret.present", name=SECRET, usage="iscsi", value=PASSWORD)
        converged(state, "kvm_pool.running", **fields)
        assert "unit:0:0:1" in san.virsh("vol-list", POOL)
        document = san.virsh("pool-dumpxml", POOL)
        assert PASSWORD not in document
        uuid = san.virsh("secret-list").split()[0]
        converged(state, "kvm_pool.stopped", **fields)
        fields["source"]["auth"] = {"type": "chap", "username": "node1", "uuid": uuid}
        converged(state, "kvm_pool.running", **fields)
        converged(state, "kvm_pool.absent", name=POOL)
    finally:
        san.tgtadm("--op", "unbind", "--mode", "account", "--tid", "1", "--user", "node1")


def test_a_dry_run_counts_a_secret_as_made(run, san):
    auth = {"type": "chap", "username": "node1", "usage": f"{SECRET}2"}
    fields = {"name": f"{POOL}2", "type": "iscsi-direct", "source": {**SOURCE, "auth": auth}}
    dry = run(test=True)
    secret = {"name": f"{SECRET}2", "usage": "iscsi", "value": PASSWORD, "connection": san.uri}
    assert dry("kvm_secret.present", **secret)["result"] is None
    told = dry("kvm_pool.running", connection=san.uri, **fields)
    assert told["result"] is None, told["comment"]
