"""A fresh host with systemd: dry run, run, second run, reboot."""

from waiting import wait_for

from .checks import GUEST, IMAGE, converge, guest_is_there, photograph, screenshot, virsh
from .conftest import CHECKOUT

SYSTEMD = True


def refusal(host, *command):
    """Run what has to fail; return what it printed."""
    done = host.run(*command, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    return done.stdout


def test_needs_root(host):
    user = ("setpriv", "--reuid=65534", "--clear-groups")
    assert "needs root" in refusal(host, *user, f"{CHECKOUT}/tools/converge")


def test_says_that_the_network_is_missing(host):
    printed = refusal(host, "unshare", "--net", f"{CHECKOUT}/tools/converge")
    assert "needs Python 3.10 or newer" in printed
    assert "the network" in printed


def test_dry_run_of_a_bare_host_leaves_nothing(host):
    printed = converge(host, "test=True")
    assert "Dry run, nothing was changed:" in printed
    assert "Failed" not in printed
    assert "observed yet" not in printed
    assert "define pool default, set autostart of pool default, start pool default." in printed
    whole = f"define domain {GUEST}, set autostart of domain {GUEST}, start domain {GUEST}."
    assert whole in printed
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


def test_refuses_a_pillar_with_faults(host):
    before = virsh(host, "dumpxml", GUEST)
    host.path("/srv/bad.sls").write_text(f"kvm: {{domains: {{{GUEST}: {{memmory: 1GiB}}}}}}")
    printed = refusal(host, f"{CHECKOUT}/tools/converge", "--pillar", "/srv/bad.sls")
    assert f"kvm:domains:{GUEST}: unknown key 'memmory'" in printed
    assert virsh(host, "dumpxml", GUEST) == before


def test_second_run_changes_nothing(host):
    for arguments in ([], ["test=True"]):
        assert "Nothing changed: this machine is as declared." in converge(host, *arguments)


def test_everything_comes_back_by_itself_after_a_reboot(host):
    before = virsh(host, "domuuid", GUEST), host.path(IMAGE).stat().st_ino
    host.reboot()
    wait_for(
        lambda: host.run("virsh", "domstate", GUEST, check=False).stdout.strip() == "running",
        "the guest's start with its host",
    )
    guest_is_there(host)
    assert (virsh(host, "domuuid", GUEST), host.path(IMAGE).stat().st_ino) == before
    assert "Nothing changed: this machine is as declared." in converge(host)
