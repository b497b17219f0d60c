"""What a user or the world can get wrong: one sentence with the cure, nothing half-made."""

import multiprocessing
import os
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from .conftest import PREFIX, nat, photograph, virsh
from .daemon import Daemon

NAME = f"{PREFIX}bad"
NETWORK = f"{PREFIX}badnet"
DISK = {"path": "{folder}/a.raw"}

# state function, arguments over those that work, and what the comment must say
TABLE = [
    ("kvm_domain.running", {"memory": None}, "memory: needed to make the domain"),
    ("kvm_domain.running", {"memory": "lots"}, "'lots' is no size"),
    ("kvm_domain.running", {"memory": 2048}, "write a unit, like 2048MiB"),
    ("kvm_domain.running", {"vcpus": "two"}, "vcpus: Expected 'int'"),
    ("kvm_domain.running", {"vcpus": 0}, "vcpus: Expected 'int' >= 1"),
    (
        "kvm_domain.running",
        {"virt_type": "kvm"},
        "this host can't virtualise in hardware; switch on",
    ),
    ("kvm_domain.running", {"virt_type": "xen"}, "Invalid enum value 'xen'"),
    ("kvm_domain.running", {"cdrom": "/no/such.iso"}, "the file /no/such.iso is not there"),
    ("kvm_domain.running", {"cdrom": "such.iso"}, "'such.iso' is no absolute path"),
    ("kvm_domain.running", {"disks": [{"path": "/no/a.raw"}]}, "the file /no/a.raw is not there"),
    (
        "kvm_domain.running",
        {"disks": [{"path": "/no/such/a.raw", "size": "1GiB"}]},
        "the directory /no/such is not there; make it",
    ),
    ("kvm_domain.running", {"disks": [{"pth": "/a"}]}, "disks[0]: unknown key 'pth'; did you mean"),
    ("kvm_domain.running", {"disks": "/a.raw"}, "disks: Expected 'list', got 'str'"),
    (
        "kvm_domain.running",
        {"disks": [DISK, {"path": "{folder}/small.raw", "size": "1GiB"}]},
        "small.raw is there with 1MiB, not 1GiB",
    ),
    (
        "kvm_domain.running",
        {"disks": [{"path": "{folder}/b.qcow2"}]},
        "is a qcow2 image, but is declared as raw",
    ),
    (
        "kvm_domain.running",
        {"interfaces": [{"network": f"{PREFIX}nowhere"}]},
        f"there is no network '{PREFIX}nowhere'; declare it",
    ),
    (
        "kvm_domain.running",
        {"interfaces": [{"network": f"{PREFIX}off"}]},
        f"the network '{PREFIX}off' is not active",
    ),
    ("kvm_domain.running", {"interfaces": [{}]}, "an interface needs one of 'network', 'bridge'"),
    ("kvm_domain.running", {"graphics": [{"listen": "all"}]}, "graphics[0]: 'all' does not appear"),
    ("kvm_domain.running", {"machine": "pc-q35-99"}, "defining a domain: "),
    ("kvm_domain.running", {"cpu": "Pentium9"}, "Nothing was left changed"),
    ("kvm_domain.running", {"xml": "<os>"}, "xml: not well-formed XML"),
    ("kvm_domain.running", {"xml": "<uuid>1</uuid>"}, "<uuid> can't be declared here"),
    ("kvm_domain.running", {"name": "a/b"}, "'a/b' is no name"),
    ("kvm_network.running", {"ip": "10.0.0.1"}, "has no prefix; write it like"),
    ("kvm_network.running", {"forward": "natt"}, "Invalid enum value 'natt'"),
    ("kvm_network.running", {"bridge": "lo"}, "Nothing was left changed"),
    ("kvm_pool.running", {}, "path: needed to make the pool"),
    ("kvm_pool.running", {"path": "/no/such/pool"}, "the directory /no/such is not there"),
    ("kvm_pool.running", {"path": "{folder}/a.raw/pool"}, "a.raw is a file, not a directory"),
    ("kvm_pool.running", {"type": "floppy", "path": "/x"}, "type: Invalid enum value 'floppy'"),
    (
        "kvm_image.present",
        {"name": "/no/such/a.raw", "size": "1G"},
        "the directory /no/such is not",
    ),
    ("kvm_image.present", {"name": "{folder}/x.raw"}, "size: needed to make the image"),
    ("kvm_image.present", {"name": "{folder}/x.raw", "size": "0"}, "no possible size"),
    ("kvm_image.present", {"name": "{folder}/x.raw", "size": "7E"}, "Nothing was left changed"),
    ("kvm_image.present", {"name": "{folder}"}, "is a directory, not an image file"),
    ("kvm_image.present", {"name": "x.raw", "size": "1G"}, "'x.raw' is no absolute path"),
    (
        "kvm_image.present",
        {"name": "{folder}/x.raw", "size": "1MiB", "owner": "nobody-here"},
        "there is no user 'nobody-here' on this host",
    ),
    ("kvm_image.present", {"name": "{folder}/x.raw", "size": "1MiB", "mode": "rw"}, "is no mode"),
    ("kvm_image.absent", {"name": "{folder}"}, "is a directory, not an image file"),
]


def filled(value, folder):
    if isinstance(value, dict):
        return {key: filled(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, folder) for each in value]
    return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


def arguments(function, changed, folder):
    works = {
        "kvm_domain.running": {"name": NAME, "memory": "64MiB", "disks": [DISK]},
        "kvm_network.running": {"name": NETWORK, **nat()},
        "kvm_pool.running": {"name": NAME},
    }
    return filled({**works.get(function, {}), **changed}, folder)


@pytest.fixture
def prepared(run, folder):
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    (folder / "small.raw").write_bytes(b"\0" * 1024**2)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "b.qcow2"), "1M"]
    subprocess.run(command, check=True)
    run()("kvm_network.present", name=f"{PREFIX}off", forward="isolated")
    return folder


@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row[0]} {row[1]}".replace(PREFIX, "")[:80]
)
def test_bad_input_is_told_in_a_sentence_and_leaves_nothing(run, prepared, row):
    function, changed, told = row
    before, files = photograph(), sorted(os.listdir(prepared))
    for test in (True, False):
        result = run(test=test)(function, **arguments(function, changed, prepared))
        # Only what is tried can be refused by the world; a dry run may not see that coming.
        if test and result["result"] is None:
            continue
        assert result["result"] is False, result
        assert result["changes"] == {}
        assert told in result["comment"]
        assert "Traceback" not in result["comment"]
        assert len(result["comment"]) < 500
    assert sorted(os.listdir(prepared)) == files
    after = photograph()
    for kind in ("", "net-", "pool-", "state", "net-state", "pool-state"):
        assert after[kind] == before[kind]


def test_several_faults_are_told_at_once(run):
    told = run()("kvm_domain.running", name=NAME, memory="x", vcpus="y", cdrom="z")["comment"]
    for field in ("memory", "vcpus", "cdrom"):
        assert f"kvm:domains:{NAME}:{field}: " in told


@pytest.mark.parametrize("uri", ["qemu:///nowhere", "nonsense", "qemu+unix:///system?socket=/none"])
def test_a_hypervisor_that_does_not_answer(run, uri):
    """As when libvirtd is down: its socket is not there."""
    told = run()("kvm_network.running", name=NAME, connection=uri)
    assert told["result"] is False
    assert "can't be reached: " in told["comment"]
    assert "; " in told["comment"], "no cure"


def test_a_dry_run_before_libvirtd_is_started_is_not_red(run):
    dry = run(test=True)
    dry.states.pack["__running__"] = {"earlier": {"result": None}}
    told = dry("kvm_network.running", name=NAME, connection="qemu+unix:///system?socket=/none")
    assert told["result"] is None
    assert "can't be observed yet" in told["comment"]


@pytest.mark.parametrize(("due", "result"), [("pkg", None), ("kvm_pool", False)])
def test_a_dry_run_before_a_file_is_installed_is_not_red(run, due, result):
    """A package may bring the file; what our own states would make is known."""
    dry = run(test=True)
    dry.states.pack["__running__"] = {f"{due}_|-earlier_|-earlier_|-run": {"result": None}}
    told = dry("kvm_domain.running", name=NAME, memory="64MiB", cdrom="/nowhere.iso")
    assert told["result"] is result
    assert bool(told["changes"]) is (result is None)
    assert "/nowhere.iso is not there" in told["comment"]


@pytest.fixture
def full_disk(folder):
    """A file system of 1 MiB with no room left."""
    place = folder / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        with pytest.raises(OSError, match="No space left"), (place / "filler").open("wb") as file:
            file.write(b"x" * 2 * 1024**2)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_space(run, full_disk):
    before = sorted(os.listdir(full_disk))
    path = str(full_disk / "a.qcow2")
    told = run()("kvm_image.present", name=path, format="qcow2", size="1GiB")
    assert told["result"] is False
    assert told["changes"] == {}
    assert "space" in told["comment"].lower()
    assert sorted(os.listdir(full_disk)) == before


def as_nobody(call):
    """Return what ``call`` returns in a child process that is not root."""
    theirs, ours = multiprocessing.Pipe()

    def child():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        ours.send(call())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    ours.close()
    try:
        return theirs.recv()
    finally:
        process.join()


def test_not_root(run):
    """In a child of a warm process: a user who is not root may not even reach this Python."""
    warm = run()
    warm("kvm_network.absent", name=NAME)
    warm("kvm_image.absent", name="/x.raw")
    network = as_nobody(lambda: warm("kvm_network.running", name=NAME))
    image = as_nobody(lambda: warm("kvm_image.present", name="/x.raw", size="1MiB"))
    for told in (network, image):
        assert told["result"] is False
        assert "run as root" in told["comment"]
    assert NAME not in virsh("net-list", "--all", "--name").split()
    assert not os.path.exists("/x.raw")


OTHER = f"{PREFIX}other"
EDIT = f"virsh edit {OTHER}"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One without the guests of other tests, whose disks nobody could tell from this one's."""
    made = Daemon(tmp_path_factory.mktemp("libvirtd"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def unreadable(daemon, folder):
    """Somebody's guest whose metadata has a prefix that nothing declares, as libvirt lets it."""
    document = folder / "other.xml"
    document.write_text(
        f"<domain type='qemu'><name>{OTHER}</name><memory>65536</memory><os><type>hvm</type></os>"
        "<metadata><a:b xmlns:a='urn:a'><c:d/></a:b></metadata></domain>"
    )
    daemon.virsh("define", str(document))
    yield daemon
    daemon.empty()


@pytest.mark.parametrize("state", ["present", "running", "stopped", "absent"])
def test_a_document_that_can_not_be_read(run, unreadable, state):
    before = unreadable.everything()
    assert list(before) == [OTHER]
    fields = {} if state == "absent" else {"memory": "32MiB", "disks": []}
    for test in (True, False):
        told = run(test=test)(
            f"kvm_domain.{state}", name=OTHER, connection=unreadable.uri, **fields
        )
        # To remove a definition it need not be read.
        if state != "absent":
            assert (told["result"], told["changes"]) == (False, {})
            assert f"the domain {OTHER} can't be read: unbound prefix" in told["comment"]
            assert EDIT in told["comment"]
            assert unreadable.everything() == before
    assert (OTHER in unreadable.names()) is (state != "absent"), told


def test_a_document_of_another_that_can_not_be_read(run, unreadable, folder):
    """Whether a new disk is another guest's can't be told then; a guest without one is made."""
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    fields = {"name": NAME, "memory": "32MiB", "virt_type": "auto", "connection": unreadable.uri}
    disk = {"disks": [{"path": f"{folder}/a.raw"}]}
    told = run()("kvm_domain.present", **fields, **disk)
    assert (told["result"], told["changes"]) == (False, {})
    assert EDIT in told["comment"]
    assert run()("kvm_domain.present", **fields)["result"] is True


def test_what_a_document_is_that_can_not_be_read(modules, unreadable):
    for function in ("info", "xml"):
        with pytest.raises(CommandExecutionError, match=EDIT):
            modules[f"kvm_domain.{function}"](OTHER, connection=unreadable.uri)
    assert modules["kvm_domain.list"](connection=unreadable.uri)[OTHER] == "off"


def test_a_volume_whose_name_is_no_text(run, modules, folder):
    """A file that came into a pool's directory; libvirt's Python can't say its name."""
    pool = f"{PREFIX}badpool"
    made = run()("kvm_pool.running", name=pool, path=str(folder))
    assert made["result"] is True
    (folder / os.fsdecode(b"a\xff.raw")).write_bytes(b"x")
    virsh("pool-refresh", pool)
    with pytest.raises(CommandExecutionError, match=r"a\\xff\.raw.* is no UTF-8; rename that"):
        modules["kvm_volume.list"](pool)
