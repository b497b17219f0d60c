"""A host that is half set up, then its settings change under a running guest, then a second host.

The second one is a copy of the first: TLS between the two is real.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from waiting import wait_for

from .checks import virsh
from .conftest import CACHE, CHECKOUT
from .machine import ADDRESS, Machine, run

SYSTEMD = True
OTHER = "172.31.77.3"
GUEST = "web1"
UUID = "8d3b1bd4-9c1f-4b8e-9c43-52ea5a0c4d11"
QEMU = {"vnc_listen": "0.0.0.0", "keepalive_interval": 6}
GUESTS = {"on_shutdown": "suspend", "on_boot": "start"}
DOMAIN = {"memory": "64MiB", "virt_type": "qemu", "disks": []}


def apply(host, section, *arguments, check=True):
    """Run tools/converge with a pillar; return what it printed."""
    path = host.path("/srv/pillar.sls")
    path.write_text(json.dumps({"kvm": {"domains": {GUEST: DOMAIN}, **section}}))
    command = (f"{CHECKOUT}/tools/converge", "--pillar", "/srv/pillar.sls", *arguments)
    return host.run(*command, check=check).stdout


def settle(host, section):
    """Apply, and see that a second run has nothing to do; return the first."""
    printed = apply(host, section)
    assert "Nothing changed: this machine is as declared." in apply(host, section)
    return printed


def process(host, unit="libvirtd"):
    return int(host.run("systemctl", "show", "-p", "MainPID", "--value", unit).stdout)


def guest(host):
    """Return the process of the guest."""
    return int(host.run("cat", f"/run/libvirt/qemu/{GUEST}.pid").stdout)


def host_settings(**more):
    return {
        "host": {"config": {"qemu.conf": QEMU}, "guests": GUESTS, "users": ["operator1"], **more}
    }


def test_what_an_administrator_had_begun_is_kept(host):
    host.run("apt-get", "update")
    options = ("-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends")
    host.run("apt-get", *options, "libvirt-daemon-system")
    host.run("useradd", "operator1")
    conf = host.path("/etc/libvirt/qemu.conf")
    before = f"{conf.read_text()}# mine\nmax_queued = 7 # so be it\n"
    conf.write_text(before)
    settle(host, host_settings())
    after = conf.read_text().splitlines()
    added = ['vnc_listen = "0.0.0.0"', "keepalive_interval = 6"]
    assert [line for line in after if line not in added] == before.splitlines()
    assert set(added) < set(after)
    assert "operator1" in host.run("getent", "group", "libvirt").stdout
    defaults = host.path("/etc/default/libvirt-guests").read_text().splitlines()
    assert {"ON_SHUTDOWN=suspend", "ON_BOOT=start"} < set(defaults)
    assert host.run("systemctl", "is-active", "libvirt-guests").stdout.strip() == "active"
    assert virsh(host, "domstate", GUEST).strip() == "running"


def test_a_daemon_reads_its_changed_file_and_the_guest_goes_on(host):
    virsh(host, "list")
    before, runs = guest(host), process(host)
    config = {"qemu.conf": QEMU, "libvirtd.conf": {"host_uuid": UUID}}
    apply(host, host_settings(config=config))
    assert f"<uuid>{UUID}</uuid>" in virsh(host, "capabilities")
    assert process(host) != runs
    assert guest(host) == before
    assert virsh(host, "domstate", GUEST).strip() == "running"


def test_a_value_that_the_daemon_does_not_take_is_taken_back(host):
    before, file = guest(host), host.path("/etc/libvirt/libvirtd.conf").read_text()
    config = {"qemu.conf": QEMU, "libvirtd.conf": {"host_uuid": UUID, "max_clients": "many"}}
    printed = apply(host, host_settings(config=config), check=False)
    assert "libvirtd did not restart" in printed or "libvirtd went down again" in printed
    assert "max_clients" in printed
    assert "Traceback" not in printed
    assert host.path("/etc/libvirt/libvirtd.conf").read_text() == file
    assert virsh(host, "domstate", GUEST).strip() == "running"
    assert guest(host) == before


def test_guests_are_suspended_at_shutdown_and_go_on_after_the_boot(host):
    assert re.search(r"Autostart: +disable", virsh(host, "dominfo", GUEST))
    host.reboot()
    wait_for(lambda: virsh(host, "domstate", GUEST).strip() == "running", "the guest")
    log = host.path(f"/var/log/libvirt/qemu/{GUEST}.log").read_text()
    assert "-incoming" in log.rpartition("starting up")[2], "it has not been suspended"


@pytest.fixture(scope="module")
def other(host):
    """A second host: what the first one is, under another name and address."""
    name = f"{host.name}-b"
    root = CACHE / name
    host.stop()
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", host.root, root], check=True)
        (root / "etc/hostname").write_text("node2\n")
        (root / "etc/machine-id").write_text("")
        for left in (root / "var/lib/libvirt/qemu/save").glob("*"):
            left.unlink()
        host.start()
        wait_for(lambda: virsh(host, "domstate", GUEST).strip() == "running", "the guest")
        machine = Machine(name, root, systemd=True, binds=host.binds, address=OTHER)
        try:
            machine.start()
            yield machine
        finally:
            machine.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
        root.with_name(f"{name}.log").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Return what makes a certificate and its key: (PEM, PEM), by an authority of this test."""
    folder = tmp_path_factory.mktemp("pki")

    def authority(name):
        ca, key = folder / f"{name}.pem", folder / f"{name}.key"
        new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        run(*new, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(ca))
        return ca, key

    def make(name, address, by):
        ca, ca_key = by
        key, request, cert = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = folder / "extensions"
        extensions.write_text(
            f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth"
        )
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        run(*new, "-keyout", str(key), "-out", str(request))
        sign = ["openssl", "x509", "-req", "-days", "2", "-CAcreateserial"]
        sign += ["-CA", str(ca), "-CAkey", str(ca_key), "-extfile", str(extensions)]
        run(*sign, "-in", str(request), "-out", str(cert))
        return cert.read_text(), key.read_text()

    make.authority = authority
    return make


def connect(host, password=None):
    """List the first host's guests from the other one, by TLS."""
    uri = f"qemu+tls://{ADDRESS}/system"
    if password is not None:
        credentials = f"[credentials-c]\nauthname=alice\npassword={password}\n"
        text = f"{credentials}\n[auth-libvirt-default]\ncredentials=c\n"
        host.path("/root/auth.conf").write_text(text)
        uri += "?authfile=/root/auth.conf"
    return host.run("timeout", "60", "virsh", "-c", uri, "list", "--name", check=False)


def test_tls_between_two_hosts(host, other, pki):
    ours, theirs = pki.authority("ours"), pki.authority("theirs")
    ca = ours[0].read_text()
    cert, key = pki("node1", ADDRESS, ours)
    host.path("/root/node1.pem").write_text(cert)
    before = guest(host)
    printed = settle(host, host_settings(tls={"ca": ca, "cert": "/root/node1.pem", "key": key}))
    secret = key.splitlines()[3]
    assert secret not in printed
    for log in Path(host.path(f"{CHECKOUT}/.cache")).rglob("*.log"):
        assert secret not in log.read_text()
    placed = host.path("/etc/pki/libvirt/private/serverkey.pem")
    assert placed.read_text() == key
    assert placed.stat().st_mode & 0o777 == 0o600
    assert guest(host) == before

    apply(other, host_settings(tls={"ca": ca}))
    refused = connect(other)
    assert refused.returncode != 0, "who has no certificate gets in"
    cert, key = pki("stranger", OTHER, theirs)
    apply(other, host_settings(tls={"ca": ca, "client_cert": cert, "client_key": key}))
    assert connect(other).returncode != 0, "who has another authority's certificate gets in"
    cert, key = pki("node2", OTHER, ours)
    apply(other, host_settings(tls={"ca": ca, "client_cert": cert, "client_key": key}))
    listed = connect(other)
    assert listed.returncode == 0, listed.stdout
    assert listed.stdout.split() == [GUEST]


def test_a_certificate_by_salts_x509_is_read_and_the_guest_goes_on(host, pki):
    before = guest(host)
    ca, key = pki.authority("new")
    for path in (ca, key):
        shutil.copy(path, host.path(f"/root/{path.name}"))
    x509 = {"signing_private_key": "/root/new.key", "signing_cert": "/root/new.pem"}
    x509 |= {"CN": "node1", "subjectAltName": f"IP:{ADDRESS}", "days_valid": 200}
    settle(host, host_settings(tls={"ca": "/root/new.pem", "x509": x509}))
    # Without a certificate of its own it is sent away, which openssl may or may not call an error.
    asked = ("timeout", "10", "openssl", "s_client", "-connect", f"{ADDRESS}:16514")
    shown = subprocess.run(asked, capture_output=True, text=True, check=False, input="").stdout
    assert re.search(r"issuer.*CN ?= ?new", shown), shown
    assert guest(host) == before
    listed = connect(host)
    assert listed.stdout.split() == [GUEST], "the host's own certificate is a client's too"


def test_named_users_may_use_libvirt(host):
    def listed(user):
        own = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "virsh")
        ran = host.run(*own, "-c", "qemu:///system", "list", "--name", check=False)
        return ran.stdout.split() if ran.returncode == 0 else None

    for user in ("viewer1", "viewer2"):
        host.run("useradd", user)
        assert listed(user) is None
    allowed = host_settings(polkit={"users": ["viewer1"]})
    apply(host, allowed)
    wait_for(lambda: listed("viewer1") == [GUEST], "the rule")
    assert listed("viewer2") is None
    # As where polkitd was quicker than Salt, which gives a file its mode last.
    rule = host.path("/etc/polkit-1/rules.d/50-salt-kvm.rules")
    rule.chmod(0o600)
    rule.write_text(rule.read_text())
    wait_for(lambda: listed("viewer1") is None, "polkitd, which can't read the rule")
    apply(host, allowed)
    wait_for(lambda: listed("viewer1") == [GUEST], "the rule that can be read again")


def test_a_password_over_tls(host, other, pki):
    ours = pki.authority("ours")
    ca = ours[0].read_text()
    cert, key = pki("node1", ADDRESS, ours)
    theirs, their_key = pki("node2", OTHER, ours)
    apply(other, host_settings(tls={"ca": ca, "client_cert": theirs, "client_key": their_key}))
    other.run("apt-get", "-o", "Dpkg::Use-Pty=0", "install", "-y", "libsasl2-modules")
    before = guest(host)
    tls = {"ca": ca, "cert": cert, "key": key}

    def sasl(users):
        return host_settings(tls=tls, sasl={"mechanisms": ["scram-sha-256"], "users": users})

    password = "hosts open sesame"
    printed = settle(host, sasl({"alice": password, "bob": "another open sesame"}))
    assert "open sesame" not in printed
    assert guest(host) == before
    listed = connect(other, password)
    assert listed.stdout.split() == [GUEST], listed.stdout
    refused = connect(other, "wrong")
    assert "authentication failed" in refused.stdout
    assert connect(other).returncode != 0, "a certificate alone is enough"
    database = host.path("/etc/libvirt/passwd.db")
    assert database.stat().st_mode & 0o007 == 0
    settle(host, sasl({"alice": None}))
    assert connect(other, password).returncode != 0
    assert "bob" in host.run("sasldblistusers2", "-f", "/etc/libvirt/passwd.db").stdout
