"""Faults after an installation: what was installed is not lost.

Injected ones at every call, one run each, and starts that really fail.
"""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import libvirt
import pytest

from salt_kvm.backend.guests import boot_files, guest_log
from waiting import wait_for

from . import installer
from .conftest import PREFIX, virsh
from .test_faults import everywhere, trials

__all__ = ["trials"]
NAME = f"{PREFIX}fault"


@pytest.fixture
def new(folder, network):
    """A guest with a blank disk, and the medium that installs it within a second."""
    disk = folder / "disk.raw"
    cdrom = installer.make_small(folder)
    fields = {
        "name": NAME,
        "machine": "pc",
        "memory": "32MiB",
        "disks": [{"path": str(disk), "size": "1MiB", "bus": "ide"}],
        "interfaces": [{"network": network}],
        "cdrom": cdrom,
        "on_reboot": "restart",
        "autostart": True,
        "install": {"kickstart": "answers\n"},
    }
    return SimpleNamespace(disk=disk, network=network, fields=fields)


def clean(new):
    virsh("destroy", NAME)
    virsh("undefine", NAME)
    boot_files.remove(NAME)
    new.disk.unlink(missing_ok=True)


def off():
    return virsh("domstate", NAME).strip() == "shut off"


def installs(run, new):
    """Start the installer, and wait until it is done."""
    told = run()("kvm_domain.installed", **new.fields)
    assert told["result"] is True, told
    wait_for(off, "the end of the installer")
    assert installer.times(new.disk) == 1


def finished(run, new, where):
    """The next run ends it: installed once, as declared, without its media; nothing is left."""
    healed = run()("kvm_domain.installed", **new.fields)
    assert healed["result"] is True, f"after {where}: {healed}"
    assert installer.times(new.disk) == 1, where
    running, defined = virsh("dumpxml", NAME), virsh("dumpxml", NAME, "--inactive")
    assert "<on_reboot>restart</on_reboot>" in running, where
    assert ".iso" not in running + defined, where
    assert 'phase="installed"' in defined, where
    assert NAME in virsh("list", "--autostart", "--name").split(), where
    assert not os.path.exists(boot_files.folder(NAME)), where
    for test in (True, False):
        again = run(test=test)("kvm_domain.installed", **new.fields)
        assert (again["result"], again["changes"]) == (True, {}), f"after {where}: {again}"


def breaks_from_the_installer_on(patch, fault):
    """Count only what is called when the installer has been at work, which nobody noticed yet."""
    number, fault.number = fault.number, None
    everywhere(patch, fault)
    create = libvirt.libvirtmod.virDomainCreateXML

    def created(*arguments):
        made = create(*arguments)
        wait_for(off, "the end of the installer")
        fault.number, fault.seen = number, 0
        return made

    patch.setattr(libvirt.libvirtmod, "virDomainCreateXML", created)


def test_a_fault_while_an_installation_is_waited_for(run, trials, new):
    """Up to the port of the installed guest, all in one run."""
    hit = set()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wait = {"until": "port", "port": port, "address": "127.0.0.1", "timeout": 60}
        new.fields["install"]["wait"] = wait
        for at, _, told, where in trials(
            breaks_from_the_installer_on,
            lambda: clean(new),
            lambda: run()("kvm_domain.installed", **new.fields),
        ):
            hit.add(at)
            assert told["result"] in (True, False), where
            finished(run, new, where)
    assert {"virDomainCreate", "virDomainDefineXML", "virDomainSetAutostart"} <= hit, hit


def test_a_fault_after_an_installation(run, trials, new):
    """By the run that finds that the installer is done."""
    hit = set()

    def ended():
        clean(new)
        installs(run, new)

    for at, _, told, where in trials(
        everywhere, ended, lambda: run()("kvm_domain.installed", **new.fields)
    ):
        hit.add(at)
        assert told["result"] in (True, False), where
        assert installer.times(new.disk) == 1, where
        finished(run, new, where)
    assert {"virDomainCreate", "virDomainDefineXML", "virDomainSetAutostart"} <= hit, hit


def start_in_vain(new):
    """What libvirtd tells of the guest's last end is from now on not the installer's."""
    virsh("net-destroy", new.network)
    virsh("start", NAME)
    virsh("net-start", new.network)
    assert virsh("domstate", NAME, "--reason").strip() == "shut off (failed)"


def start_and_destroy(new):
    virsh("start", NAME)
    virsh("destroy", NAME)
    assert virsh("domstate", NAME, "--reason").strip() == "shut off (destroyed)"


@pytest.mark.parametrize("happened", [start_in_vain, start_and_destroy])
def test_what_happened_since_is_not_taken_for_the_installers_end(run, new, monkeypatch, happened):
    """libvirt's log tells; without it nothing is started over what is there."""
    installs(run, new)
    happened(new)
    with monkeypatch.context() as patch:
        patch.setattr(guest_log, "FOLDER", "/nowhere")
        for test in (True, False):
            told = run(test=test)("kvm_domain.installed", **new.fields)
            assert (told["result"], told["changes"]) == (False, {})
            assert "has ended is not known (perhaps " in told["comment"]
            assert off()
    finished(run, new, happened.__name__)


def test_a_disk_that_is_made_from_a_source_is_not_installed_over(run, new, folder):
    """It holds nothing yet, but what it will hold is a system."""
    (folder / "base.raw").write_bytes(b"\1" * 1024**2)
    disk = {**new.fields["disks"][0], "source": f"{folder}/base.raw"}
    for test in (True, False):
        told = run(test=test)("kvm_domain.installed", **{**new.fields, "disks": [disk]})
        assert told["result"] is (None if test else True), told
        assert "install" not in told["changes"]
    assert "No installer was started: its disk held data already" in told["comment"]
    assert new.disk.read_bytes() == b"\1" * 1024**2


def test_an_agent_that_does_not_come_is_told_with_the_screen(run, new):
    """The guest stays, and is not installed for that anew."""
    new.fields["graphics"] = [{"type": "vnc"}]
    installs(run, new)
    new.fields["install"]["wait"] = {"until": "agent", "timeout": 2}
    for changed in ({"old": "installing", "new": "booting"}, None):
        told = run()("kvm_domain.installed", **new.fields)
        assert told["result"] is False
        assert "waited 2 s for its agent in vain; its screen is kept as " in told["comment"]
        picture = Path(told["comment"].partition("kept as ")[2].partition(";")[0])
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()
        assert told["changes"].get("install") == changed
        assert "running" in virsh("domstate", NAME)
    del new.fields["install"]["wait"]
    finished(run, new, "a wait in vain")
