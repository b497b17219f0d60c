"""A fresh host on which no service manager runs: the daemons are started by hand."""

import json

from waiting import wait_for

from .checks import GUEST, converge, guest_is_there, screenshot, virsh

SYSTEMD = False
UUID = "8d3b1bd4-9c1f-4b8e-9c43-52ea5a0c4d11"


def test_run_starts_the_daemons_by_hand(host):
    printed = converge(host)
    assert f"VNC of {GUEST}: 0.0.0.0:5900" in printed
    assert not host.path("/run/systemd/system").exists()
    guest_is_there(host)
    assert screenshot(host, printed)[2], "the screen is black"


def test_second_run_changes_nothing(host):
    assert "Nothing changed: this machine is as declared." in converge(host)


def configure(host, **files):
    """Run tools/converge with keys of libvirt's files; return what it printed."""
    host.path("/srv/pillar.sls").write_text(json.dumps({"kvm": {"host": {"config": files}}}))
    return converge(host, "--pillar", "/srv/pillar.sls")


def processes(host):
    """The daemons' and the guest's."""
    names = ("libvirtd", "virtlogd", f"libvirt/qemu/{GUEST}")
    return [int(host.run("cat", f"/run/{name}.pid").stdout) for name in names]


def test_only_the_daemon_of_a_changed_file_is_restarted(host):
    daemon, logger, guest = processes(host)
    files = {"libvirtd.conf": {"host_uuid": UUID}}
    printed = configure(host, **files)
    assert "restarted libvirtd" in printed
    assert f"<uuid>{UUID}</uuid>" in virsh(host, "capabilities")
    after = processes(host)
    assert after[0] != daemon
    assert after[1:] == [logger, guest]
    assert "Nothing changed" in configure(host, **files)
    files["virtlogd.conf"] = {"max_clients": 77}
    printed = configure(host, **files)
    assert "reloaded virtlogd" in printed
    assert "libvirtd." not in printed.partition("Made:")[2]
    assert processes(host) == [after[0], logger, guest], "virtlogd holds what guests have open"
    assert virsh(host, "domstate", GUEST).strip() == "running"


def test_a_daemon_in_the_foreground_is_left_to_who_started_it(host):
    daemon, _logger, guest = processes(host)
    host.run("sh", "-c", f"kill {daemon}")
    wait_for(lambda: host.run("test", "-e", f"/proc/{daemon}", check=False).returncode, "its end")
    host.run("sh", "-c", "setsid libvirtd </dev/null >/dev/null 2>&1 &")
    wait_for(lambda: host.run("virsh", "list", check=False).returncode == 0, "libvirtd")
    before = processes(host)
    printed = configure(host, **{"libvirtd.conf": {"host_uuid": UUID, "max_clients": 777}})
    assert "Waits for a restart: libvirtd 'in the foreground" in printed
    assert processes(host) == before
    assert before[2] == guest
