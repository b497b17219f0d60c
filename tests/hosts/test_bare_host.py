"""A fresh host with systemd: dry run, run, second run, reboot."""

from .checks import GUEST, IMAGE, converge, guest_is_there, photograph, screenshot, virsh, wait_for

SYSTEMD = True


def test_dry_run_of_a_bare_host_leaves_nothing(host):
    printed = converge(host, "test=True")
    assert "Dry run, nothing was changed:" in printed
    assert "Failed" not in printed
    before = photograph(host)
    assert "libvirt-daemon" not in before["packages"]
    converge(host, "test=True")
    assert photograph(host) == before


def test_run_makes_a_hypervisor_with_a_running_guest(host):
    printed = converge(host)
    assert "Made:" in printed
    assert f"VNC of {GUEST}: 0.0.0.0:5900" in printed
    guest_is_there(host)
    width, height, lit = screenshot(host, printed)
    assert width >= 640
    assert height >= 400
    assert lit, "the screen is black"


def test_second_run_changes_nothing(host):
    for arguments in ([], ["test=True"]):
        assert "Nothing changed: this machine is as declared." in converge(host, *arguments)


def test_everything_comes_back_by_itself_after_a_reboot(host):
    before = virsh(host, "domuuid", GUEST), host.path(IMAGE).stat().st_ino
    host.reboot()
    wait_for(lambda: host.run("virsh", "domstate", GUEST, check=False).stdout.strip() == "running")
    guest_is_there(host)
    assert (virsh(host, "domuuid", GUEST), host.path(IMAGE).stat().st_ino) == before
    assert "Nothing changed: this machine is as declared." in converge(host)
