"""Whole Salt processes, as users run them, in Python environments that have what a test says."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import salt._logging

ROOT = Path(__file__).parents[2]
# Several test runs on one machine do not meet.
RUN = os.getpid() % 10_000
PREFIX = f"skti{RUN}-"
BRIDGE = f"virbrsi{RUN}"
SUBNET = f"10.{140 + RUN // 250}.{RUN % 250}"
# pip writes dashes as underscores in the names of files.
OWN = ("salt_kvm", "__editable__")
SCRIPT = """#!{python}
import sys
from salt.scripts import {function}
sys.exit({function}())
"""


class Environment(NamedTuple):
    """A Python environment with Salt's commands in ``bin``."""

    bin: Path

    def pip(self, *arguments, **more):
        command = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check"]
        ran = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, **more
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def imports(self, module):
        command = [str(self.bin / "python"), "-c", f"import {module}"]
        return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


class Ran(NamedTuple):
    """What one ``salt-call`` returned (None: nothing), and all that it printed and logged."""

    value: object
    code: int
    said: str

    @property
    def states(self):
        """The states' returns by ID, in the order in which they ran."""
        assert isinstance(self.value, dict), self.said
        return by_id(self.value)


def _answer(stdout):
    """Return what Salt answered; None where it only said something."""
    try:
        return json.loads(stdout)["local"]
    except ValueError:
        return None


class Minion(NamedTuple):
    """A minion without a master."""

    environment: Environment
    folder: Path

    def call(self, *arguments, **variables):
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        command = [self.environment.bin / "salt-call", "--config-dir", self.folder, "--local"]
        command += ["--out=json", "--out-indent=-1", "--log-level=error", "--retcode-passthrough"]
        ran = subprocess.run(
            [*map(str, command), *arguments],
            cwd="/",
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        said = ran.stdout + ran.stderr + log.read_text()
        return Ran(_answer(ran.stdout), ran.returncode, said)

    def apply(self, *arguments, **variables):
        return self.call("state.apply", *arguments, **variables)


@pytest.fixture(scope="session", autouse=True)
def no_record_is_kept_for_the_end():
    """Salt keeps log records for a console, which pytest has closed when Salt writes them."""
    yield
    salt._logging.shutdown_temp_handler()


def by_id(returned):
    ordered = sorted(returned.values(), key=lambda ret: ret["__run_num__"])
    return {ret["__id__"]: ret for ret in ordered}


def changes(states):
    return {name: ret["changes"] for name, ret in states.items() if ret["changes"]}


def results(states):
    return {name: ret["result"] for name, ret in states.items()}


def make_environment(folder, without=()):
    """Make an environment that sees the packages of this one, but neither salt-kvm nor ``without``.

    They lie outside of it, so a pip that is run there can't remove what this one uses.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith((*OWN, *without)):
            (packages / entry.name).symlink_to(entry)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(f"{packages}\n")
    for name in ("salt", "salt-call", "salt-key", "salt-master", "salt-minion", "salt-run"):
        function = name.replace("salt", "salt_main") if name == "salt" else name.replace("-", "_")
        script = folder / "bin" / name
        script.write_text(SCRIPT.format(python=folder / "bin" / "python", function=function))
        script.chmod(0o755)
    return Environment(folder / "bin")


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """What a minion has to whose master gives the library: all but salt-kvm."""
    made = make_environment(tmp_path_factory.mktemp("environment") / "python")
    assert made.imports("msgspec")
    assert not made.imports("salt_kvm")
    return made


def make_minion(environment, folder, file_roots=(), pillar=None):
    """Configure a minion without a master."""
    pillar_root = folder / "pillar"
    pillar_root.mkdir(parents=True)
    (pillar_root / "top.sls").write_text("base: {'*': [kvm]}\n")
    (pillar_root / "kvm.sls").write_text(json.dumps({"kvm": pillar or {}}))
    settings = {
        "id": "integration",
        "file_client": "local",
        "root_dir": str(folder),
        "log_file": str(folder / "log"),
        "log_level_logfile": "error",
        "file_roots": {"base": [str(root) for root in file_roots]},
        "pillar_roots": {"base": [str(pillar_root)]},
    }
    (folder / "minion").write_text(json.dumps(settings))
    return Minion(environment, folder)


def virsh(*arguments):
    """Run virsh, the second witness beside the code under test."""
    command = ["virsh", "--connect", "qemu:///system", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def own(kind=""):
    """Return the names of the domains (``""``), networks or pools that these tests made."""
    listed = virsh(f"{kind}list", "--all", "--name").split()
    return [name for name in listed if name.startswith(PREFIX)]


def remove_own():
    for kind in ("", "net-", "pool-"):
        for name in own(kind):
            virsh(f"{kind}destroy", name)
            virsh(f"{kind}undefine", name, *(["--nvram"] if not kind else []))


@pytest.fixture(scope="module")
def place(libvirtd, forget):
    """A directory that QEMU can reach; in the end it and all of libvirt's objects are removed."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        remove_own()
        forget(PREFIX)
        shutil.rmtree(folder)


def section(place):
    """Return a pillar's ``kvm`` with one of each noun."""
    name = f"{PREFIX}one"
    image = str(place / "one.raw")
    network = {
        "forward": "nat",
        "bridge": BRIDGE,
        "ip": f"{SUBNET}.1/24",
        "dhcp": {"ranges": [f"{SUBNET}.2-{SUBNET}.254"]},
        "autostart": True,
    }
    domain = {
        "virt_type": "auto",
        "memory": "128MiB",
        "vcpus": 1,
        "cdrom": "/usr/lib/ipxe/ipxe.iso",
        "disks": [
            {"path": image},
            {"path": str(place / "two.qcow2"), "format": "qcow2", "size": "32MiB"},
        ],
        "interfaces": [{"network": name}],
        "graphics": [{"type": "vnc", "listen": "127.0.0.1"}],
    }
    return {
        "store": str(place / "store"),
        "networks": {name: network},
        "pools": {name: {"type": "dir", "path": str(place / "pool"), "autostart": True}},
        "images": {image: {"size": "16MiB", "mode": "0640"}},
        "domains": {name: domain},
    }
