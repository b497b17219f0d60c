"""Debian's own installer, with a preseed behind its initrd: it answers its questions from that.

Its component packages can't be had here, so that it ends where it would fetch them.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from waiting import wait_for

from .conftest import PREFIX, SUBNET

NAME = f"{PREFIX}debian"
TREE = Path("/usr/lib/debian-installer/images/12/amd64/text")
# What it asks until it asks a mirror: language, keyboard, network, name, place, proxy.
PRESEED = """\
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string guest
d-i netcfg/get_domain string example.org
d-i mirror/country string manual
d-i mirror/http/hostname string {{ "%s" }}
d-i mirror/http/directory string /preseeded
d-i mirror/http/proxy string
"""
# A slow machine that does many other things at the same time.
SECONDS = 1200


@pytest.fixture
def mirror(network):
    """A web server that has nothing: its address, and the paths that it was asked for."""
    asked = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            """Print nothing."""

    with ThreadingHTTPServer((f"{SUBNET}.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{SUBNET}.1:{server.server_port}", asked
        server.shutdown()


def test_debians_installer_answers_its_questions(run, folder, network, mirror):
    """The tree's usual kernel is found; what is asked for at the end stands only in the preseed."""
    if not TREE.is_dir():
        pytest.skip(f"no installer in {TREE}; tools/test installs it")
    address, asked = mirror
    log, preseed = folder / "serial.log", folder / "preseed.cfg"
    preseed.write_text(PRESEED % address)
    fields = {
        "memory": "1536MiB",
        "disks": [{"path": f"{folder}/a.qcow2", "format": "qcow2", "size": "2GiB"}],
        "interfaces": [{"network": network}],
        "serial": [{"type": "pty", "log": str(log)}],
        "install": {
            "location": str(TREE),
            "kernel_args": "console=ttyS0 DEBIAN_FRONTEND=text net.ifnames=0 ipv6.disable=1",
            "preseed": str(preseed),
        },
    }
    told = run()("kvm_domain.installed", name=NAME, **fields)
    assert told["result"] is True, told["comment"]
    wait_for(lambda: asked, "a request to the preseeded mirror", SECONDS)
    assert all(path.startswith("/preseeded/dists/") for path in asked), asked
    text = log.read_text(errors="replace")
    assert "auto=true priority=critical console=ttyS0" in text
    assert "Select a language" not in text
    again = run()("kvm_domain.installed", name=NAME, **fields)
    assert again["comment"].startswith("Installing since")
