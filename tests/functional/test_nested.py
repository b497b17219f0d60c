"""Nested virtualisation: the KVM module's option and reload, and guests that may be hypervisors.

There is no KVM module here, so a directory stands in for the kernel's /proc and /sys, and a script
for modprobe: it reads the option files there and writes the parameter, as the kernel would.
"""

import os
import tty
from pathlib import Path

import pytest

from salt_kvm import converge as engine
from salt_kvm.backend import history
from salt_kvm.backend.hosts.kernel import Kernel
from salt_kvm.backend.world import World
from salt_kvm.errors import UnmetError
from waiting import wait_for

from .conftest import PREFIX, virsh

MODPROBE = """#!/bin/sh
root=ROOT
echo "$@" >>$root/calls
if [ "$1" = -r ]; then
    folder=$root/sys/module/$2
    [ -e $folder ] || exit 0
    [ "$(cat $folder/refcnt)" = 0 ] || { echo "FATAL: $2 is in use" >&2; exit 1; }
    mv $folder $root/unloaded
    exit 0
fi
for option in $(sed -n "s/^options $1 //p" $root/etc/modprobe.d/*.conf) $2; do
    case $option in nested=*) value=${option#nested=};; esac
done
if [ -e $root/refuses ] && [ "$value" = 1 ]; then
    echo "could not insert '$1': Invalid argument" >&2
    exit 1
fi
mv $root/unloaded $root/sys/module/$1
[ $1 = kvm_intel ] && value=$(echo $value | tr 01 NY)
echo $value >$root/sys/module/$1/parameters/nested
"""


class Machine:
    """A kernel's tree with a KVM module in it."""

    def __init__(self, root, flag="vmx", nested="N"):
        self.root = root
        self.module = {"vmx": "kvm_intel", "svm": "kvm_amd"}.get(flag)
        self.put("proc/cpuinfo", f"processor : 0\nflags : fpu {flag}\n")
        if self.module:
            self.put(f"sys/module/{self.module}/refcnt", "0\n")
            self.put(f"sys/module/{self.module}/parameters/nested", f"{nested}\n")
        self.put("etc/modprobe.d/kvm.conf", f"options {self.module} ept=1\n")
        self.put("bin/modprobe", MODPROBE.replace("ROOT", str(root)))
        (root / "bin/modprobe").chmod(0o755)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def opened_by(self, name, pid):
        """Let a process have a guest open."""
        self.put(f"proc/{pid}/comm", f"{name}\n")
        (self.root / f"proc/{pid}/fd").mkdir()
        os.symlink("anon_inode:kvm-vm", self.root / f"proc/{pid}/fd/9")
        self.put(f"sys/module/{self.module}/refcnt", "1\n")

    @property
    def nested(self):
        return (self.root / f"sys/module/{self.module}/parameters/nested").read_text().strip()

    @property
    def option(self):
        path = self.root / "etc/modprobe.d/salt-kvm.conf"
        return path.read_text() if path.exists() else None

    @property
    def calls(self):
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(history, "FOLDER", str(tmp_path / "history"))

    def make(*args, **kwargs):
        return Machine(tmp_path, *args, **kwargs)

    return make


def nested(machine, *, test=False, enabled=True, world=None):
    world = world or World("qemu:///system", kernel=Kernel(str(machine.root)))
    mode = engine.Mode(test=test)
    return engine.run(world, "nested", "x", {"enabled": enabled}, mode)


@pytest.mark.parametrize(
    ("flag", "off", "on"), [("vmx", "N", "Y"), ("svm", "0", "1")], ids=["Intel", "AMD"]
)
def test_on_and_off_again(machine, flag, off, on):
    there = machine(flag, off)
    for enabled, before, after in ((True, off, on), (False, on, off)):
        calls = there.calls
        dry = nested(there, enabled=enabled, test=True)
        assert (there.nested, there.calls) == (before, calls)
        real = nested(there, enabled=enabled)
        assert real.failure is None, real
        assert real.changes == dry.changes
        assert real.changes[f"{there.root}/sys/module/{there.module}/parameters/nested"] == {
            "old": before,
            "new": after,
        }
        assert there.nested == after
        assert there.option.endswith(f"\noptions {there.module} nested={int(enabled)}\n")
        calls = there.calls
        for test in (True, False):
            again = nested(there, enabled=enabled, test=test)
            assert (again.changes, again.comment) == ({}, "As declared.")
        assert there.calls == calls


def test_a_guest_that_runs_is_waited_for_and_named_in_every_run(machine):
    there = machine()
    there.opened_by("qemu-system-x86", 4711)
    first = nested(there)
    assert first.failure is None
    assert list(first.changes) == [f"{there.root}/etc/modprobe.d/salt-kvm.conf"]
    for test in (True, False):
        told = nested(there, test=test)
        assert told.changes == {}
        assert "Waits for the module to be loaded anew" in told.comment
        assert "in use by qemu-system-x86 (4711)" in told.comment
    assert (there.nested, there.calls) == ("N", [])
    (there.root / "proc/4711/fd/9").unlink()
    there.put("sys/module/kvm_intel/refcnt", "0\n")
    assert nested(there).failure is None
    assert there.nested == "Y"


def test_a_module_that_refuses_is_loaded_as_it_was(machine):
    there = machine()
    there.put("refuses", "")
    told = nested(there)
    assert "Invalid argument" in told.failure
    assert told.changes == {}
    assert (there.nested, there.option) == ("N", None)


def test_another_file_that_has_the_last_word_is_named(machine):
    there = machine()
    there.put("etc/modprobe.d/zz.conf", "options kvm_intel nested=0\n")
    told = nested(there)
    assert "/etc/modprobe.d" in told.failure
    assert "'Y' is wanted" in told.failure


def test_a_module_in_the_kernel_itself_needs_an_argument(machine):
    there = machine()
    (there.root / "sys/module/kvm_intel/refcnt").unlink()
    nested(there)
    assert "boot with the argument kvm_intel.nested=1" in nested(there).comment
    assert there.calls == []


def test_a_module_that_is_not_loaded_finds_its_option(machine):
    there = machine()
    (there.root / "sys/module/kvm_intel/parameters/nested").unlink()
    assert list(nested(there).changes) == [f"{there.root}/etc/modprobe.d/salt-kvm.conf"]
    assert there.calls == []


def test_a_host_that_can_not_virtualise_tells_why(run, modules):
    """This machine, through Salt."""
    if World("qemu:///system").kernel.module() is not None:
        pytest.skip("this machine's CPU can virtualise")
    cure = next(row["cure"] for row in modules["kvm_host.check"]() if row["name"] == "cpu")
    for test in (True, False):
        ret = run(test=test)("kvm_host.nested", name="x")
        assert ret["result"] is False
        assert cure in ret["comment"]
        assert run(test=test)("kvm_host.nested", name="x", enabled=False)["result"] is True
    assert not Path("/etc/modprobe.d/salt-kvm.conf").exists()


def domain(machine, *, test, world):
    """A guest of type kvm that is to be a hypervisor, on a host whose CPU could."""
    world.__dict__["_facts"] = world.facts.__class__("x86_64", kvm=True, flag="vmx")
    fields = {"state": "present", "memory": "32MiB", "nested": True, "virt_type": "kvm"}
    return engine.run(world, "domain", f"{PREFIX}nest", fields, engine.Mode(test=test))


def test_a_guest_of_a_host_that_does_not_pass_it_on_is_refused(machine, libvirtd):
    there = machine()
    world = World(libvirtd, kernel=Kernel(str(there.root)))
    for test in (True, False):
        with pytest.raises(UnmetError, match="declare kvm:host:nested: true"):
            domain(there, test=test, world=world)
    assert PREFIX not in virsh("list", "--all", "--name")


def test_a_dry_run_counts_the_host_as_nested_after_the_state_before(machine, libvirtd):
    there = machine()
    world = World(libvirtd, kernel=Kernel(str(there.root)))
    nested(there, test=True, world=world)
    assert domain(there, test=True, world=world).changes


def test_an_emulated_guest_sees_the_feature(converge, guest_kernel, folder):
    """QEMU's own emulation has AMD's svm, so this needs no hardware."""
    name, log = f"{PREFIX}nested", folder / "serial.log"
    system = {
        "kernel": guest_kernel.kernel,
        "initrd": guest_kernel.initramfs,
        "cmdline": guest_kernel.arguments,
    }
    serial = [{"type": "pty", "log": str(log)}]
    fields = {"name": name, "memory": "256MiB", "virt_type": "qemu", "os": system, "serial": serial}
    converge("kvm_domain.running", nested=True, **fields)
    wait_for(lambda: "tick 1" in log.read_text(), "the guest's userspace")
    # QEMU takes what is written there only while somebody has the terminal open.
    with open(virsh("ttyconsole", name).strip(), "w") as port:
        tty.setraw(port)
        port.write('echo "has $(grep -ow svm /proc/cpuinfo | head -n 1)"\n')
        port.flush()
        wait_for(lambda: "has svm" in log.read_text(), "its answer")
