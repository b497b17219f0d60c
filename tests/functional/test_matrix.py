"""A matrix of edits, each run dry, for real, dry and for real: the plan is exact.

The edits stand in ``matrix/<noun>.yaml``: ``base`` are the fields that all have, ``running_base``
those that come on top where the object runs. An edit has

- ``name``, and ``running`` where the object is to run;
- ``before``, the fields over the base; null: nothing is there;
- ``edit``, the fields over those; a null takes a field out;
- ``expects``: ``live`` (made at once, nothing waits), ``waits`` (for the next start), ``nothing``
  (no change at all) or ``refused`` (both runs say why); without it there is a change;
- ``bug``, why it fails as yet.

``$folder``, ``$net`` and the other names of :func:`_words` are filled in.
"""

import difflib
import hashlib
import os
import re
import subprocess
import tempfile
import time
import typing
from pathlib import Path
from string import Template
from types import SimpleNamespace

import libvirt
import msgspec
import pytest
import salt.loader
import yaml

from salt_kvm.nouns import NOUNS
from waiting import wait_for

from .conftest import BRIDGE, PREFIX, RUN, SUBNET, nat, remove_secrets, virsh

FOLDER = Path(__file__).parent / "matrix"
# What a host has only once, and what is no libvirt object, is edited in a file of its own.
ELSEWHERE = {"config", "kernel", "kernel_arguments", "nested", "sasl_user", "vmx"}
DEFINED = {
    "domain": ("/etc/libvirt/qemu", "/run/libvirt/qemu"),
    "network": ("/etc/libvirt/qemu/networks", "/run/libvirt/network"),
    "pool": ("/etc/libvirt/storage", "/run/libvirt/storage"),
}
DUMPS = {"domain": "dumpxml", "network": "net-dumpxml", "pool": "pool-dumpxml"}
STOPS = {"domain": "destroy", "network": "net-destroy", "pool": "pool-destroy"}
# What a state function named absent takes.
OF_ABSENT = ("timeout", "force", "data", "usage")
# Bridges and subnets of the networks that are edited; the one that guests are in has its own.
ACTIVE, SPARE = f"skm{RUN}a", f"skm{RUN}s"
EDITED = f"10.{150 + RUN // 250}.{RUN % 250}"
POOL = f"{PREFIX}guests"
UUID = f"5a17{RUN:04d}-0000-4000-8000-000000000001"
# The secret that disks are encrypted with, and what it is for.
SECRET, USAGE = f"5a17{RUN:04d}-0000-4000-8000-000000000002", f"/srv/skm{RUN}.qcow2"
OWN = re.compile(f"{PREFIX}|{UUID}|{BRIDGE}(?![0-9])|{ACTIVE}|{SPARE}")
KEPT_IN = (
    "/etc/libvirt",
    "/var/lib/libvirt",
    "/run/libvirt",
    "/var/lib/salt-kvm",
    "/run/lock/salt-kvm",
)
# What libvirt, dnsmasq and running guests write on their own.
NOISE = re.compile(r"\.(log|status|leases)$")
QMP = "qemu-monitor-command"
QUERIES = [f'{{"execute":"query-{what}"}}' for what in ("status", "block", "pci", "cpus-fast")]
PCI = QUERIES[2]
MUTATING = re.compile(
    "Define|Create|Undefine|Destroy|Set|Attach|Detach|Update|Shutdown|Reboot|Reset|Build|Delete"
    "|Rename|Suspend|Resume|Refresh|Resize|Save|Restore|Pin|Inject|Send|Migrate|Commit|Pull|Rebase"
    "|Add|Del|Abort|Write|Upload|Wipe"
)
READING = re.compile("Error|Event|Register|KeepAlive|Get|List|Lookup|Stream|Address")
# Fields that no edit can use on the machines that run these tests, and why.
NO_SEV = "SEV needs an AMD EPYC host"
NOT_HERE = {
    "domain": {
        "features.gic": "a GIC is a part of ARM machines",
        "graphics.tls_port": "TLS is switched off in this host's qemu.conf",
        "interfaces.bandwidth.outbound.floor": "libvirt has it for inbound only",
        "launch_security": NO_SEV,
        "launch_security.type": NO_SEV,
        "launch_security.policy": NO_SEV,
        "launch_security.cbitpos": NO_SEV,
        "launch_security.reduced_phys_bits": NO_SEV,
        "launch_security.dh_cert": NO_SEV,
        "launch_security.session": NO_SEV,
        "launch_security.kernel_hashes": NO_SEV,
        "memtune.min_guarantee": "QEMU does not have it",
    },
    "network": {"addresses": "libvirt wants SR-IOV functions that are there"},
    "pool": {
        "rbd_options": "Debian's libvirt has its rbd driver in another package",
        "volume_allocation": "Debian's libvirt has its rbd driver in another package",
        "permissions.label": "a label needs SELinux",
    },
    "volume": {
        "permissions.label": "a label needs SELinux",
    },
    "image": {"label": "a label needs SELinux; test_selinux_label shows what can be"},
    "secret": {},
}


def _edits():
    for noun in sorted(NOUNS.keys() - ELSEWHERE):
        document = yaml.safe_load((FOLDER / f"{noun}.yaml").read_text())
        base, more = document["base"], document.get("running_base") or {}
        for entry in document["edits"]:
            running = entry.get("running", False)
            yield SimpleNamespace(
                noun=noun,
                name=entry["name"],
                fields={**base, **(more if running else {})},
                before=entry.get("before", {}),
                edit=entry["edit"],
                running=running,
                expects=entry.get("expects"),
                bug=entry.get("bug"),
            )


EDITS = list(_edits())


class Calls:
    """The libvirt calls of this process that change something, by name."""

    def __init__(self):
        self.made = []

    def record(self, name, call):
        def called(*arguments, **keywords):
            self.made.append(name)
            return call(*arguments, **keywords)

        return called


@pytest.fixture(scope="module")
def calls():
    made = Calls()
    with pytest.MonkeyPatch.context() as patch:
        for name in dir(libvirt.libvirtmod):
            if name.startswith("vir") and MUTATING.search(name) and not READING.search(name):
                call = getattr(libvirt.libvirtmod, name)
                patch.setattr(libvirt.libvirtmod, name, made.record(name, call))
        yield made


@pytest.fixture(scope="module")
def act(opts, modules, calls):
    """Run one state in a run of its own; ``told.calls`` are the libvirt calls that change."""

    def go(noun, name, fields, *, test=False):
        options = {**opts, "test": test}
        states = salt.loader.states(options, modules, {}, None, context={})
        states.pack["__running__"] = {}
        arguments = {k: v for k, v in fields.items() if k != "state" and v is not None}
        if fields["state"] == "absent":
            arguments = {k: v for k, v in arguments.items() if k in OF_ABSENT}
        calls.made.clear()
        told = states[f"kvm_{noun}.{fields['state']}"](name=name, **arguments)
        return SimpleNamespace(**told, calls=list(calls.made))

    return go


# Guests are shared by the tests of this module, so only its end cleans up.
@pytest.fixture(autouse=True, scope="module")
def leave_nothing_behind(libvirtd, forget):
    yield
    for noun, folders in DEFINED.items():
        for name in {path.stem for folder in folders for path in _own_definitions(folder)}:
            _remove(noun, name)
    virsh("secret-undefine", SECRET)
    forget(PREFIX)


def _remove(noun, name):
    """Also what is not there: that is cheaper than a look."""
    undefine = STOPS[noun].replace("destroy", "undefine")
    undefine += f" --domain {name} --nvram" if noun == "domain" else f" {name}"
    virsh(f"{STOPS[noun]} {name}; {undefine}")


@pytest.fixture(scope="module", autouse=True)
def volumes(act):
    """A pool with the volume that guests have as a disk, and a secret with an encrypted image."""
    with _folder() as folder:
        luks = {"usage": "volume", "uuid": SECRET, "value": "open", "state": "present"}
        made = act("secret", USAGE, luks)
        assert made.result is True, made.comment
        fields = {"format": "qcow2", "size": "1MiB", "encryption": {"secret": SECRET}}
        made = act("image", f"{folder}/luks.qcow2", {**fields, "state": "present"})
        assert made.result is True, made.comment
        made = act("pool", POOL, {"path": f"{folder}/pool", "state": "running"})
        assert made.result is True, made.comment
        made = act("volume", f"{POOL}/e.raw", {"capacity": "64KiB", "state": "present"})
        assert made.result is True, made.comment
        yield f"{folder}/luks.qcow2"
        _remove("pool", POOL)


@pytest.fixture(scope="module")
def nets(act):
    """Two networks for the cards of guests; the second is an isolated one."""
    names = f"{PREFIX}net", f"{PREFIX}other"
    fields = nat(), {"forward": "isolated"}
    for name, more in zip(names, fields, strict=True):
        made = act("network", name, {**more, "state": "running"})
        assert made.result is True, made.comment
    return names


@pytest.fixture(scope="module")
def shared(nets, guest_kernel, volumes):
    """A folder that outlives a test, and what is filled in for an object that runs."""
    with _folder() as folder:
        yield {**_words(folder, nets, guest_kernel, ACTIVE), "luks": volumes}


@pytest.fixture
def words(request, volumes):
    """What is filled in; an object that is off has a folder of its own."""
    if request.node.callspec.params["edit"].running:
        yield request.getfixturevalue("shared")
        return
    nets = request.getfixturevalue("nets")
    with _folder() as folder:
        yield {**_words(folder, nets, None, SPARE), "luks": volumes}


class _folder(tempfile.TemporaryDirectory):
    """A directory that QEMU, which is not root, can reach, with a few images in it."""

    def __init__(self):
        super().__init__(prefix=PREFIX, dir="/var/tmp")

    def __enter__(self):
        folder = Path(super().__enter__())
        folder.chmod(0o755)
        for name in ("a.raw", "b.raw", "c.raw", "one.iso", "two.iso"):
            (folder / name).write_bytes(b"\0" * 64 * 1024)
        for name in ("d.qcow2", "e.vmdk"):
            format = name.partition(".")[2]
            command = ["qemu-img", "create", "-q", "-f", format, str(folder / name), "1M"]
            subprocess.run(command, check=True)
        return folder


def _words(folder, nets, kernel, bridge):
    words = {"folder": folder, "net": nets[0], "other": nets[1], "bridge": bridge}
    words |= {"hostbridge": BRIDGE, "subnet": EDITED, "guests": SUBNET, "uuid": UUID, "pool": POOL}
    words |= {"secret": SECRET, "usage": USAGE}
    if kernel is not None:
        words |= {"kernel": kernel.kernel, "initrd": kernel.initramfs, "args": kernel.arguments}
    return {key: str(value) for key, value in words.items()}


def _fill(value, words):
    if isinstance(value, str):
        return Template(value).safe_substitute(words)
    if isinstance(value, list):
        return [_fill(each, words) for each in value]
    if isinstance(value, dict):
        return {key: _fill(each, words) for key, each in value.items()}
    return value


class Running:
    """Objects that many edits share: each edit finds them as they were when they were made."""

    def __init__(self, act):
        self.act, self.definitions, self.booted = act, {}, {}

    def reset(self, noun, name, first, before):
        """Put the first definition back, then make what stands before the edit."""
        if noun not in self.definitions:
            made = self.act(noun, name, first)
            assert made.result is True, made.comment
            with tempfile.NamedTemporaryFile("w", delete=False, suffix=".xml") as file:
                secure = ["--security-info"] if noun == "domain" else []
                file.write(virsh(DUMPS[noun], name, "--inactive", *secure))
            self.definitions[noun] = file.name
        else:
            define = DUMPS[noun].replace("dumpxml", "define")
            autostart = define.replace("define", "autostart")
            virsh(f"{define} {self.definitions[noun]}; {autostart} {name} --disable")
        made = self.act(noun, name, before)
        assert made.result is True, made.comment
        if noun == "domain":
            self._wait(name, first)
            if before != first:
                self._settle(name)

    def _wait(self, name, fields):
        """A guest releases a device only when its system is up."""
        identity = virsh("domid", name)
        log = Path(fields["serial"][0]["log"])
        if self.booted.get("id") == identity:
            return
        known = self.booted.get("size", 0)
        wait_for(lambda: b"tick" in log.read_bytes()[known:], log.read_bytes)
        self.booted = {"id": identity, "size": log.stat().st_size}

    def _settle(self, name):
        """A guest gives what was plugged in its addresses, in its own time."""
        told = []

        def same():
            time.sleep(1)
            told.append(unnumbered(virsh(QMP, name, PCI)))
            return told[-2:-1] == told[-1:]

        wait_for(same, lambda: told[-1])


@pytest.fixture(scope="module")
def running(act):
    made = Running(act)
    yield made
    for path in made.definitions.values():
        os.unlink(path)


@pytest.fixture
def subject(request, act, words):
    """Make what stands before an edit; return the object's name and the fields after the edit."""
    edit = request.node.callspec.params["edit"]
    base = _fill(edit.fields, words)
    state = {"state": "running" if edit.running else "present"}
    before = {**state, **base, **_fill(edit.before or {}, words)}
    after = {**before, **_fill(edit.edit, words)}
    named = {"image": f"{words['folder']}/edited.img", "volume": f"{PREFIX}m-vols/edited"}
    name = named.get(edit.noun, f"{PREFIX}m-{edit.noun}")
    if edit.noun == "volume":
        fields = {"state": "running", "path": f"{words['folder']}/vols"}
        assert act("pool", f"{PREFIX}m-vols", fields).result is True
    if edit.running:
        name += "-on"
        request.getfixturevalue("running").reset(edit.noun, name, {**state, **base}, before)
    elif edit.before is not None:
        made = act(edit.noun, name, before)
        assert made.result is True, made.comment
    yield name, before, after
    if edit.noun in DEFINED and not edit.running:
        _remove(edit.noun, name)
    if edit.noun == "volume":
        _remove("pool", f"{PREFIX}m-vols")
    if edit.noun == "secret":
        remove_secrets()


def photograph(folder):
    """Everything of this run's that a dry run could touch, as one mapping."""
    return {"documents": _documents(), **_files(folder)}


def _documents():
    """What libvirt and QEMU say of each object, in one call of virsh: to start it costs the most.

    Its lists would wait for the guests of other test runs; libvirt's files name every object.
    """
    asked = []
    for noun, folders in DEFINED.items():
        secure = " --security-info" if noun == "domain" else ""
        for name in sorted({p.stem for folder in folders for p in _own_definitions(folder)}):
            dump = f"{DUMPS[noun]} {name}{secure}"
            asked += [dump, f"{dump} --inactive"]
            if noun == "domain":
                asked += [f"domstate {name}", *(f"{QMP} {name} '{ask}'" for ask in QUERIES)]
    return unnumbered(virsh("; ".join(asked))).splitlines()


def unnumbered(answer):
    """QEMU's answers are numbered."""
    return re.sub('"id":"libvirt-[0-9]+"', "", answer)


def _own_definitions(folder):
    return Path(folder).glob(f"{PREFIX}*.xml")


def _differing(was, now):
    """What the assertion shows: two whole photographs would bury it."""
    changed = {k: (was.get(k), now.get(k)) for k in sorted(was.keys() | now.keys())}
    changed = {k: (old, new) for k, (old, new) in changed.items() if old != new}
    if "documents" in changed:
        changed["documents"] = list(difflib.unified_diff(*changed["documents"], n=1, lineterm=""))
    return changed


def _files(folder):
    seen = {}
    for top in (*KEPT_IN, folder):
        # A folder of another run's may go meanwhile, which is no fault to a walk.
        for parent, folders, files in os.walk(top):
            for path in map(Path(parent).joinpath, (".", *folders, *files)):
                if OWN.search(str(path)) and not NOISE.search(path.name):
                    seen[str(path)] = _file(path)
    return seen


def _file(path):
    found = path.lstat()
    facts = (oct(found.st_mode), found.st_uid, found.st_gid, found.st_size)
    # libvirt writes what it knows of a running guest again when QEMU is asked.
    if path.parent != Path("/run/libvirt/qemu"):
        facts = (*facts, found.st_mtime_ns)
    if path.is_symlink():
        return (*facts, os.readlink(path))
    return (*facts, hashlib.sha256(path.read_bytes()).hexdigest()) if path.is_file() else facts


def _case(edit):
    marks = [pytest.mark.xfail(reason=edit.bug, strict=True)] if edit.bug else []
    return pytest.param(edit, id=f"{edit.noun}-{edit.name}", marks=marks)


@pytest.mark.parametrize("edit", [_case(edit) for edit in EDITS])
def test_an_edit_is_foretold_made_and_then_at_rest(edit, act, subject, words):
    name, _before, after = subject
    was = photograph(words["folder"])
    dry = act(edit.noun, name, after, test=True)
    now = photograph(words["folder"])
    assert _differing(was, now) == {}, "the dry run left traces"
    assert dry.calls == [], "the dry run changed something"
    real = act(edit.noun, name, after)
    if edit.expects == "refused":
        assert (dry.result, real.result, real.changes, real.calls) == (False, False, {}, [])
        assert dry.comment == real.comment
        return
    assert real.result is True, real.comment
    assert dry.changes == real.changes, "the dry run told something else"
    assert dry.result is (None if real.changes else True), dry.comment
    third = act(edit.noun, name, after, test=True)
    assert (third.result, third.changes) == (True, {}), third.comment
    last = act(edit.noun, name, after)
    assert (last.result, last.changes) == (True, {}), last.comment
    assert (third.calls, last.calls) == ([], []), "a run without a change changed something"
    _check_expected(edit, real, last)


def _check_expected(edit, real, last):
    """An edit that changes nothing, or that is made at another time, tests something else."""
    assert bool(real.changes) is (edit.expects != "nothing"), real.changes
    waits = "Waits for the next start" in last.comment
    if edit.expects == "waits":
        assert waits, last.comment
    if edit.expects == "live":
        assert any(path.startswith("live/") for path in real.changes), real.changes
        assert not waits, last.comment


def test_the_matrix_is_large_enough():
    assert len(EDITS) >= 150
    names = [(edit.noun, edit.name) for edit in EDITS]
    assert len(set(names)) == len(names)
    assert {edit.noun for edit in EDITS if edit.running} == {"domain", "network", "pool"}


@pytest.mark.parametrize("noun", sorted(NOUNS.keys() - ELSEWHERE))
def test_every_field_is_edited(noun):
    declared = set(_fields(NOUNS[noun].spec))
    edited = {path for edit in EDITS if edit.noun == noun for path in _paths(edit)}
    excused = set(NOT_HERE[noun])
    assert declared - edited - excused == set(), f"add an edit to matrix/{noun}.yaml"
    assert excused - declared == set(), "no such field"
    assert excused & edited == set(), "an edit uses it: take it out of NOT_HERE"


def _fields(spec, above=""):
    """``disks``, ``disks.path``, ...: the fields of a spec and of those inside it."""
    for name, kind in typing.get_type_hints(spec).items():
        yield f"{above}{name}"
        for nested in _specs(kind):
            yield from _fields(nested, f"{above}{name}.")


def _specs(kind):
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in typing.get_args(kind):
        yield from _specs(inner)


def _paths(edit):
    """The fields that are others after an edit, or that stand in what is."""
    before = {**edit.fields, **(edit.before or {})}
    for key, value in edit.edit.items():
        if value != before.get(key) or edit.expects == "nothing":
            yield key
            # What is taken out is edited too.
            for side in (value, before.get(key)):
                yield from _inside(side, f"{key}.")


def _inside(value, above):
    for each in value if isinstance(value, list) else [value]:
        for key, inner in each.items() if isinstance(each, dict) else ():
            yield f"{above}{key}"
            yield from _inside(inner, f"{above}{key}.")
