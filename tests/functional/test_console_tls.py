"""Consoles by TLS, of a libvirtd whose qemu.conf says so: what docs/guest.md tells to set."""

import ssl
import subprocess
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from . import rfb, spice
from .conftest import PREFIX
from .daemon import apart

NAME = f"{PREFIX}tls"
SETTINGS = """
vnc_tls = 1
vnc_tls_x509_cert_dir = "{0}"
spice_tls = 1
spice_tls_x509_cert_dir = "{0}"
"""


@pytest.fixture(scope="module")
def secure(libvirtd):
    """A libvirtd with certificates, and how a viewer trusts them."""

    def prepare(root):
        (root / "pki").mkdir()
        certificates(root / "pki")
        with (root / "etc" / "qemu.conf").open("a") as file:
            file.write(SETTINGS.format(root / "pki"))

    with apart(PREFIX, prepare) as daemon:
        context = ssl.create_default_context(cafile=daemon.root / "pki" / "ca-cert.pem")
        yield SimpleNamespace(daemon=daemon, context=context)


def certificates(root):
    """Make an authority and a server's certificate of it, by the names that libvirt looks for."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=root, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    own = ("-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca-cert.pem")
    openssl("req", "-x509", *key, *own, "-days", "2")
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "server-key.pem", "-out", "request")
    (root / "names").write_text("subjectAltName = DNS:localhost\n")
    by = ("-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request", *by, "-days", "2", "-out", "server-cert.pem")
    # QEMU, which is not root, reads it.
    (root / "server-key.pem").chmod(0o644)


@pytest.fixture
def graphics(run, secure):
    """Start a guest with a console; return where that listens."""

    def start(**console):
        told = run()(
            "kvm_domain.running",
            name=NAME,
            memory="32MiB",
            graphics=[{"listen": "127.0.0.1", "password": "first", **console}],
            connection=secure.daemon.uri,
        )
        assert told["result"] is True, told
        return ET.fromstring(secure.daemon.virsh("dumpxml", NAME)).find(".//graphics").attrib

    yield start
    secure.daemon.empty()


@pytest.mark.parametrize("password", ["first", "other"])
def test_vnc_speaks_tls_only_and_asks_for_the_password(secure, graphics, password):
    with secure.daemon.connect(int(graphics(type="vnc")["port"])) as server:
        assert rfb.lets_in_by_tls(server, password, secure.context) is (password == "first")


@pytest.mark.parametrize("password", ["first", "other"])
def test_spice_speaks_tls_on_its_port_for_that(secure, graphics, password):
    found = graphics(type="spice", default_mode="secure")
    with (
        secure.daemon.connect(int(found["tlsPort"])) as server,
        secure.context.wrap_socket(server, server_hostname="localhost") as secured,
    ):
        assert spice.takes(secured, password) is (password == "first")
    assert "port" not in found


def test_who_does_not_know_the_authority_is_warned(secure, graphics):
    """The certificate is the one that was made for it."""
    stranger = ssl.create_default_context()
    with (
        secure.daemon.connect(int(graphics(type="vnc")["port"])) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        rfb.lets_in_by_tls(server, "first", stranger)
