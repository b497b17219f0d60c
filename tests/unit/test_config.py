"""Which daemon is to read which file of libvirt's, and how."""

from __future__ import annotations

from typing import get_args

import pytest

from salt_kvm.plan import config
from salt_kvm.plan.host_steps import RestartDaemon
from salt_kvm.spec.host import Config, File

# libvirt, "Daemons", and the manual page of each; virtlogd(8) and virtlockd(8): SIGUSR1.
MODULAR = ("qemu", "network", "storage", "nodedev", "nwfilter", "secret", "interface", "proxy")
READ_BY = {
    "libvirtd.conf": ["libvirtd restart"],
    "qemu.conf": ["libvirtd restart", "virtqemud restart"],
    "qemu-lockd.conf": ["libvirtd restart", "virtqemud restart"],
    "qemu-sanlock.conf": ["libvirtd restart", "virtqemud restart"],
    "network.conf": ["libvirtd restart", "virtnetworkd restart"],
    "libxl.conf": ["libvirtd restart", "virtxend restart"],
    "lxc.conf": ["libvirtd restart", "virtlxcd restart"],
    **{f"virt{name}d.conf": [f"virt{name}d restart"] for name in MODULAR},
    "virtlogd.conf": ["virtlogd reload"],
    "virtlockd.conf": ["virtlockd reload"],
    "libvirt.conf": [],
    "libvirt-guests": [],
}


def restarted(file: str, *, there: bool = True, restart: bool = True) -> list[str]:
    """Return who is told of a changed file on a host where everything runs, or nothing."""
    text = "#a = 1\n"
    want = Config(files={file: {"a": 2}}, restart=restart)
    seen = config.ConfigSeen(
        {file: f"/etc/{file}"}, {file: text}, frozenset(), lambda name: there, lambda name: False
    )
    steps = config.plan("x", want, seen)
    return [f"{step.name} {step.how}" for step in steps if isinstance(step, RestartDaemon)]


def test_every_file_is_known() -> None:
    assert set(READ_BY) == set(get_args(File))


@pytest.mark.parametrize("file", READ_BY)
def test_who_reads_a_file(file: str) -> None:
    assert restarted(file) == READ_BY[file]
    assert restarted(file, there=False) == [], "who is off reads it when it is started"
    assert restarted(file, restart=False) == []
