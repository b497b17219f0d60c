"""Consoles as a viewer finds them: who is asked for a password, and until when it holds."""

from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree as ET

import pytest

from . import rfb, spice
from .conftest import virsh


def moment(**ahead):
    return (datetime.now(timezone.utc) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%S")


VIEWERS = {"vnc": rfb, "spice": spice}


@pytest.fixture(params=VIEWERS)
def kind(request):
    return request.param


@pytest.fixture
def lets_in(kind, port):
    """Tell whether the guest's console takes a password."""
    return lambda password: VIEWERS[kind].lets_in(port(), password)


@pytest.fixture
def locked(guest, kind):
    """The fields of a guest whose console asks for a password."""
    return {**guest, "graphics": [{"type": kind, "listen": "127.0.0.1", "password": "first"}]}


@pytest.fixture
def port(guest):
    def listens():
        return int(ET.fromstring(virsh("dumpxml", guest["name"])).find(".//graphics").get("port"))

    return listens


WARNING = "VNC on {} has no password: who reaches it sits at the guest's keyboard."


@pytest.mark.parametrize("listen", ["0.0.0.0", "::"])
def test_an_open_console_is_allowed_and_warned_about(run, guest, port, listen):
    fields = {**guest, "graphics": [{"type": "vnc", "listen": listen}]}
    warning = WARNING.format(listen)
    for test in (True, False, True, False):
        assert warning in run(test=test)("kvm_domain.running", **fields)["comment"]
    assert rfb.security(port()) == [rfb.NONE]
    off = run(test=True)("kvm_domain.stopped", **fields)
    assert warning in off["comment"]


@pytest.mark.parametrize(
    "console",
    [{"listen": "127.0.0.1"}, {"listen": "0.0.0.0", "password": "a"}, {"socket": "/tmp/x.sock"}],
)
def test_a_console_that_lets_not_everybody_in_is_not(run, guest, console):
    fields = {**guest, "graphics": [{"type": "vnc", **console}]}
    for test in (True, False):
        assert "no password" not in run(test=test)("kvm_domain.present", **fields)["comment"]


def test_a_password_is_asked_for_and_changed_at_once(converge, locked, lets_in):
    converge("kvm_domain.running", **locked)
    assert lets_in("first")
    assert not lets_in("second")
    assert not lets_in("")
    locked["graphics"][0]["password"] = "second"
    converge("kvm_domain.running", **locked)
    assert lets_in("second")
    assert not lets_in("first")


def test_a_password_ends_when_it_is_declared_to(converge, locked, lets_in):
    locked["graphics"][0]["password_valid_to"] = moment(hours=1)
    converge("kvm_domain.running", **locked)
    assert lets_in("first")
    locked["graphics"][0]["password_valid_to"] = moment(seconds=-1)
    converge("kvm_domain.running", **locked)
    assert not lets_in("first")
    locked["graphics"][0]["password_valid_to"] = "never"
    converge("kvm_domain.running", **locked)
    assert lets_in("first")


@pytest.mark.parametrize("password", [["t0psecrt"], 12345678, "t0p\x07secrt", {"t0psecrt": 1}])
def test_a_password_that_is_none_is_refused_unseen(run, guest, password):
    refused = run()("kvm_domain.running", **{**guest, "graphics": [{"password": password}]})
    assert refused["result"] is False
    assert "password" in refused["comment"]
    assert not any(part in refused["comment"] for part in ("t0p", "12345678"))
