"""States through Salt's loader against the real libvirtd of this machine."""

import json
import os
import re
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import salt.config
import salt.loader

ROOT = Path(__file__).parents[2]
# Several test runs on one machine do not meet.
RUN = os.getpid() % 10_000
PREFIX = f"sktf{RUN}-"
BRIDGE = f"virbrsk{RUN}"
OTHERS = re.compile(rf"skti|bench-|sktf(?!{RUN}-)")
SUBNET = f"10.{200 + RUN // 250}.{RUN % 250}"


def virsh(*arguments):
    """Run virsh, the second witness beside the code under test."""
    command = ["virsh", "--connect", "qemu:///system", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="session")
def stored():
    """A folder for the store of images that is not this machine's own."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield f"{name}/store"


@pytest.fixture(scope="session")
def opts(tmp_path_factory, stored):
    root = tmp_path_factory.mktemp("minion")
    config = root / "minion"
    settings = {"id": "functional", "file_client": "local", "root_dir": str(root)}
    config.write_text(json.dumps({**settings, "file_roots": {"base": [f"{ROOT}/states"]}}))
    made = salt.config.minion_config(str(config))
    made["grains"] = {}
    made["kvm.store"] = stored
    return made


@pytest.fixture(scope="session")
def modules(opts, libvirtd):
    return salt.loader.minion_mods(opts, context={})


class Run(SimpleNamespace):
    """One run of states: as in Salt, its states share a context and a connection."""

    def __call__(self, function, **arguments):
        return self.states[function](**arguments)


@pytest.fixture
def run(opts, modules):
    """Return the maker of runs: ``run(test=True)("kvm_domain.running", name=...)``."""

    def make(*, test=False):
        context = {}
        states = salt.loader.states({**opts, "test": test}, modules, {}, None, context=context)
        # What a state sees of the run's earlier states.
        states.pack["__running__"] = {}
        return Run(states=states, context=context)

    return make


@pytest.fixture
def converge(run):
    """Run a state dry, for real and again; check what every state owes; return the real run."""

    def go(function, **arguments):
        before = photograph()
        dry = run(test=True)(function, **arguments)
        assert photograph() == before, "the dry run left traces"
        real = run()(function, **arguments)
        assert real["result"] is True, real["comment"]
        assert dry["changes"] == real["changes"]
        assert dry["result"] is (None if real["changes"] else True)
        for test in (False, True):
            again = run(test=test)(function, **arguments)
            assert (again["result"], again["changes"]) == (True, {}), again
        return real

    return go


def photograph():
    """Everything a dry run could have touched: definitions, autostart links, libvirt's files.

    What other tests and benchmarks make at the same time is not this run's doing.
    """
    seen = {}
    for kind in ("", "net-", "pool-"):
        listed = [name for name in virsh(f"{kind}list", "--all", "--name").split() if ours(name)]
        seen[kind] = {name: virsh(f"{kind}dumpxml", name) for name in listed}
        states = virsh(f"{kind}list", "--all").splitlines()[2:]
        seen[f"{kind}state"] = [line.split() for line in states if ours(line)]
    for top in ("/etc/libvirt", "/var/lib/libvirt/images", "/var/lib/libvirt/qemu/nvram"):
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and ours(path.name) and ours(_inside(path)):
                found = path.lstat()
                seen[str(path)] = (found.st_mode, found.st_size, found.st_mtime_ns)
    return seen


def _inside(path):
    """What names a secret, whose files are named by a UUID; one may go at any moment."""
    if path.parent.name != "secrets":
        return ""
    with suppress(OSError):
        return path.with_suffix(".xml").read_text()
    return "skti"


def ours(names):
    """Tell whether nothing in ``names`` is another run's."""
    return not OTHERS.search(str(names))


def remove_secrets():
    """Remove the secrets of this run, and the hashes of those that are private."""
    for line in virsh("secret-list").splitlines():
        if PREFIX in line:
            uuid = line.split()[0]
            virsh("secret-undefine", uuid)
            Path("/var/lib/salt-kvm/secrets", uuid).unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def leave_nothing_behind(libvirtd, forget):
    yield
    forget(PREFIX)
    remove_secrets()
    for kind, stop in (("", "destroy"), ("net-", "net-destroy"), ("pool-", "pool-destroy")):
        for name in virsh(f"{kind}list", "--all", "--name").split():
            if name.startswith(PREFIX):
                virsh(stop, name)
                virsh(f"{kind}undefine", name, *(["--nvram"] if not kind else []))


@pytest.fixture
def network(run):
    """An active network for guests."""
    name = f"{PREFIX}net"
    made = run()("kvm_network.running", name=name, **nat())
    assert made["result"] is True, made["comment"]
    return name


def nat(**more):
    """Return the fields of a NAT network that collides with no other."""
    dhcp = {"ranges": [f"{SUBNET}.2-{SUBNET}.254"]}
    return {"forward": "nat", "bridge": BRIDGE, "ip": f"{SUBNET}.1/24", "dhcp": dhcp, **more}


@pytest.fixture
def guest(folder, network):
    """The fields of a small guest that has no operating system: quick to define, quick to start."""
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    return {
        "name": f"{PREFIX}web1",
        "virt_type": "auto",
        "memory": "64MiB",
        "vcpus": 1,
        "disks": [{"path": str(folder / "a.raw")}],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "listen": "127.0.0.1"}],
    }


@pytest.fixture
def folder():
    """A directory that QEMU, which is not root, can reach; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)
