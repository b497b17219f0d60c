"""An ESXi host as a resource of a minion; what both forms of installation have to do."""

import json
import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from functional.esxi import EsxiHost, free_port
from waiting import wait_for

from .conftest import PREFIX, ROOT

TEXT = (ROOT / "tests/unit/vmx/esxi.vmx").read_bytes()
SET = TEXT + b'vhv.enable = "TRUE"\n'
NAME = f"{PREFIX}centos7"
PATH = f"[datastore1] {NAME}/{NAME}.vmx"
SECRET = "kept-in-the-minions-vault"
MINION, ESXI, DARK = f"{PREFIX}minion", f"{PREFIX}esxi1", f"{PREFIX}esxi2"


class Site:
    """A master with a minion that manages two ESXi hosts, of which one does not answer.

    It runs beside the daemons of other tests, of which salt-factories has one Python for all.
    """

    def __init__(self, scripts, folder, file_roots):
        (folder / "ssh").mkdir()
        self.scripts, self.folder = scripts, folder
        self.host = EsxiHost(folder / "ssh", PREFIX)
        self.host.machine(12, NAME, TEXT)
        self.daemons = []
        states = folder / "states"
        states.mkdir()
        own = {"vmx.option_present": [{"name": PATH}, {"key": "a.b"}, {"value": "it's"}]}
        (states / "own.sls").write_text(json.dumps({"own": own}))
        (states / "top.sls").write_text(json.dumps({"base": {ESXI: ["own"]}}))
        publish, answer = free_port(), free_port()
        shared = {"root_dir": str(folder / "root"), "sock_dir": str(folder / "sock")}
        master = {
            **shared,
            "interface": "127.0.0.1",
            "publish_port": publish,
            "ret_port": answer,
            "auto_accept": True,
            "file_roots": {"base": [str(states), *map(str, file_roots)]},
            "pillar_roots": {"base": [str(self._pillar(folder / "pillar"))]},
        }
        (folder / "sdb.yaml").write_text(json.dumps({"key": SECRET}))
        vault = {"driver": "yaml", "files": [str(folder / "sdb.yaml")]}
        minion = {**shared, "id": MINION, "master": "127.0.0.1", "master_port": answer}
        minion["vault"] = vault
        (folder / "master").write_text(json.dumps(master))
        (folder / "minion").write_text(json.dumps({**minion, "acceptance_wait_time": 1}))

    def start(self):
        for name in ("salt-master", "salt-minion"):
            command = [str(self.scripts / name), "--config-dir", str(self.folder)]
            with (self.folder / name).open("wb") as log:
                self.daemons.append(
                    subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                )

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            # Salt's daemons can miss a termination.
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(60)
            # What a daemon leaves is of its session, which nobody else is in.
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        self.host.close()

    def _pillar(self, folder):
        folder.mkdir()
        hosts = {
            ESXI: {**self.host.fields, "vmx": {"lab": {"path": PATH, "nested": True}}},
            DARK: {**self.host.fields, "port": 1},
        }
        tree = {"resources": {"esxi": {"hosts": hosts}}}
        (folder / "top.sls").write_text(json.dumps({"base": {"*": ["all"]}}))
        (folder / "all.sls").write_text(json.dumps(tree))
        return folder

    def salt(self, target, *arguments):
        """Run ``salt -C target ...``; return what each minion and resource answered.

        Not with ``--static``: that names the targets one by one, and where they are named so Salt
        3008 runs a state on the managing minion too.
        """
        command = [str(self.scripts / "salt"), "--config-dir", str(self.folder), "--out=json"]
        ran = subprocess.run(
            [*command, "--timeout=90", "-C", target, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        answered, rest = {}, ran.stdout.strip()
        while rest.startswith("{"):
            told, end = json.JSONDecoder().raw_decode(rest)
            answered, rest = answered | told, rest[end:].strip()
        return answered or {"": ran.stdout + ran.stderr}

    def until(self, target, *arguments):
        """Wait until a target answers true."""
        wait_for(
            lambda: True in self.salt(target, *arguments).values(),
            lambda: self.salt(target, *arguments),
        )

    def state(self, *arguments):
        """Run a state function on the host that answers; return its only state's return."""
        answered = self.salt(f"T@esxi:{ESXI}", *arguments)[ESXI]
        assert isinstance(answered, dict), answered
        (ran,) = answered.values()
        return ran


@contextmanager
def site(scripts, file_roots=()):
    """Yield a site whose minion answers; the path is a short one for the daemons' sockets."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        made = Site(scripts, Path(folder), file_roots)
        try:
            made.start()
            made.until(MINION, "test.ping")
            yield made
        finally:
            made.close()


def check_functions(here):
    """Each host is asked by itself, and one that does not answer tells why."""
    (found,) = here.salt(f"T@esxi:{ESXI}", "vmx.find")[ESXI]
    assert (found["number"], found["name"], found["powered_on"]) == (12, NAME, False)
    both = here.salt("T@esxi", "vmx.find")
    assert set(both) == {ESXI, DARK}
    assert "nothing answers there" in both[DARK]
    assert "nothing answers there" in here.salt(f"T@esxi:{DARK}", "test.ping")[DARK]
    assert here.salt(f"T@esxi:{ESXI}", "vmx.get", PATH, "memsize") == {ESXI: "4096"}
    assert here.salt(f"T@esxi:{ESXI}", "vmx.set", PATH, "memsize", "4096") == {ESXI: False}
    assert here.salt(f"T@esxi:{ESXI}", "grains.items")[ESXI]["id"] == ESXI
    assert "not supported" in str(here.salt(f"T@esxi:{ESXI}", "cmd.run", "id"))


def check_states(here):
    """The pillar's part of a host, its highstate and a single state: foretold, done, done once."""
    path = here.host.there(f"/vmfs/volumes/datastore1/{NAME}/{NAME}.vmx")
    dry = here.state("state.apply", "kvm.vmx", "test=True")
    assert (dry["result"], path.read_bytes()) == (None, TEXT), dry
    real = here.state("state.apply", "kvm.vmx")
    assert (real["result"], real["changes"]) == (True, dry["changes"]), real
    assert path.read_bytes() == SET
    again = here.state("state.apply", "kvm.vmx")
    assert (again["result"], again["changes"]) == (True, {})
    assert here.state("state.highstate")["changes"]["a.b"]["new"] == "it's"
    single = here.state("state.single", "vmx.option_absent", PATH, "key=a.b")
    assert single["changes"]["a.b"]["old"] == "it's"
    assert path.read_bytes() == SET
    told = here.state(
        "state.single", "vmx.option_present", PATH, "key=a.b", "value=sdb://vault/key"
    )
    assert told["changes"]["a.b"] == {"old": None, "new": "(hidden)"}
    assert SECRET not in str(told)
    assert path.read_bytes() == SET + f'a.b = "{SECRET}"\n'.encode()
    again = here.salt(f"T@esxi:{ESXI}", "vmx.set", PATH, "a.b", "sdb://vault/key")
    assert again == {ESXI: False}, again
    other = here.folder / "other"
    refused = here.salt(f"T@esxi:{ESXI}", "state.single", "file.touch", str(other))[ESXI]
    assert "'file.touch' was not found" in str(refused), refused
    assert not other.exists()
    dark = here.salt(f"T@esxi:{DARK}", "state.single", "vmx.nested_enabled", PATH)[DARK]
    assert "nothing answers there" in next(iter(dark.values()))["comment"]
