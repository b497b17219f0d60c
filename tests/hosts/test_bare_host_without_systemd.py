"""A fresh host on which no service manager runs: the daemons are started by hand."""

from .checks import GUEST, converge, guest_is_there, screenshot

SYSTEMD = False


def test_run_starts_the_daemons_by_hand(host):
    printed = converge(host)
    assert f"VNC of {GUEST}: 0.0.0.0:5900" in printed
    assert not host.path("/run/systemd/system").exists()
    guest_is_there(host)
    assert screenshot(host, printed)[2], "the screen is black"


def test_second_run_changes_nothing(host):
    assert "Nothing changed: this machine is as declared." in converge(host)
