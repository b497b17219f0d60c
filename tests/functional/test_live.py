"""What is changed on a running guest, one that answers: its kernel sees devices come and go."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from waiting import wait_for

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}live"


def documents():
    """Return the live and the persistent document."""
    texts = (virsh("dumpxml", NAME), virsh("dumpxml", "--inactive", NAME))
    return [ET.fromstring(text) for text in texts]


@pytest.fixture
def fields(guest_kernel, folder, network):
    (folder / "a.raw").write_bytes(b"\0" * 1024**2)
    (folder / "b.raw").write_bytes(b"\0" * 1024**2)
    xml = (
        f"<os><kernel>{guest_kernel.kernel}</kernel><initrd>{guest_kernel.initramfs}</initrd>"
        f"<cmdline>{guest_kernel.arguments}</cmdline></os>"
    )
    return {
        "name": NAME,
        "memory": "256MiB",
        "vcpus": 1,
        "max_vcpus": 2,
        "disks": [{"path": str(folder / "a.raw")}],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "password": "first"}],
        "serial": [{"type": "pty", "log": str(folder / "serial.log")}],
        "xml": xml,
    }


@pytest.fixture
def running(converge, fields):
    converge("kvm_domain.running", **fields)
    log = Path(fields["serial"][0]["log"])
    wait_for(lambda: "tick" in log.read_text(), log.read_text)
    return virsh("domid", NAME)


def test_a_disk_comes_and_goes(converge, fields, running):
    path = str(Path(fields["disks"][0]["path"]).with_name("b.raw"))
    more = {**fields, "disks": [{"path": path}, *fields["disks"]]}
    changes = converge("kvm_domain.running", **more)["changes"]
    assert set(changes) == {f"devices/disk[{path}]", f"live/devices/disk[{path}]"}
    live, inactive = documents()
    for path_ in ("target", "address"):
        found = [d.find(f"devices/disk[2]/{path_}").attrib for d in (live, inactive)]
        assert found[0] == found[1]
    converge("kvm_domain.running", **fields)
    assert path not in virsh("domblklist", NAME)
    assert virsh("domid", NAME) == running


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_disk_grows(converge, fields, folder, request, format):
    path = str(folder / "grows")
    disk = {"path": path, "format": format, "size": "1MiB"}
    fields["disks"].append(disk)
    running = request.getfixturevalue("running")
    target = virsh("domblklist", NAME).split(path)[0].split()[-1]
    told = converge("kvm_domain.running", **{**fields, "disks": [{**disk, "size": "3MiB"}]})
    assert told["changes"][f"image[{path}]/size"] == {"old": "1MiB", "new": "3MiB"}
    assert f"Capacity:       {3 * 1024**2}" in virsh("domblkinfo", NAME, target)
    # What is larger than declared is left alone.
    assert converge("kvm_domain.running", **{**fields, "disks": [disk]})["changes"] == {}
    assert virsh("domid", NAME) == running


def qmp(command):
    """Ask QEMU itself."""
    text = virsh("qemu-monitor-command", NAME, json.dumps({"execute": command}))
    return json.loads(text)["return"]


def test_a_disk_is_limited(converge, fields, running):
    (disk,) = fields["disks"]
    limits = {"read_bytes_sec": 1_000_000, "write_iops_sec": 100}
    for iotune in (limits, {**limits, "read_iops_sec": 50, "read_iops_sec_max": 70}):
        told = converge("kvm_domain.running", **{**fields, "disks": [{**disk, "iotune": iotune}]})
        assert "Waits" not in told["comment"]
    (drive,) = [each for each in qmp("query-block") if "inserted" in each]
    assert (drive["inserted"]["bps_rd"], drive["inserted"]["iops_wr"]) == (1_000_000, 100)
    assert (drive["inserted"]["iops_rd"], drive["inserted"]["iops_rd_max"]) == (50, 70)
    free = {"read_bytes_sec": 0, "write_iops_sec": 0, "read_iops_sec": 0, "read_iops_sec_max": 0}
    told = converge("kvm_domain.running", **{**fields, "disks": [{**disk, "iotune": free}]})
    assert "Waits" not in told["comment"]
    assert documents()[0].find("devices/disk/iotune/read_bytes_sec") is None
    assert virsh("domid", NAME) == running


def test_a_guest_gets_its_share_of_the_host(converge, fields, running):
    """CPU time, pins, memory and block device limits; virsh is asked what the guest has."""
    if "cpu_shares     :" not in virsh("schedinfo", NAME):
        pytest.skip("libvirt has no cgroup controllers here")
    device = next(f"/dev/{p.name}" for p in Path("/sys/block").iterdir() if p.name[:2] != "lo")
    tuned = {
        **fields,
        "vcpus": 2,
        "iothreads": 2,
        "cputune": {
            "shares": 2000,
            "period": 50_000,
            "quota": 40_000,
            "emulator_period": 60_000,
            "iothread_quota": 70_000,
            "global_quota": 200_000,
            "vcpupin": [{"vcpu": 1, "cpuset": 0}],
            "emulatorpin": "0",
            "iothreadpin": [{"iothread": 2, "cpuset": 0}],
        },
        "memtune": {"hard_limit": "4GiB", "soft_limit": "3GiB", "swap_hard_limit": "6GiB"},
        "blkiotune": {"weight": 300, "devices": [{"path": device, "read_bytes_sec": 1_000_000}]},
        "memballoon": {"stats_period": 7},
        "metadata": "<a:owner xmlns:a='urn:a'><a:name>me</a:name></a:owner>",
    }
    told = converge("kvm_domain.running", **tuned)
    assert "Waits" not in told["comment"]
    asked = virsh("schedinfo", NAME)
    for line in ("cpu_shares     : 2000", "vcpu_quota     : 40000", "emulator_period: 60000"):
        assert line in asked
    assert "hard_limit     : 4194304" in virsh("memtune", NAME)
    assert f"{device},1000000" in virsh("blkiotune", NAME)
    pins = [virsh(what, NAME).splitlines()[-2:] for what in ("vcpupin", "emulatorpin")]
    assert [line.split()[-1] for lines in pins for line in lines if line] == ["0", "0"]
    assert [len(qmp(f"query-{what}")) for what in ("cpus-fast", "iothreads")] == [2, 2]
    live, inactive = documents()
    assert live.find("devices/memballoon/stats").get("period") == "7"
    for document in (live, inactive):
        assert document.findtext("metadata/{urn:a}owner/{urn:a}name") == "me"
    less = {**tuned, "iothreads": 1, "memtune": {"hard_limit": "5GiB"}}
    less["cputune"] = {"shares": 3000, "iothreadpin": []}
    less["blkiotune"] = {"devices": []}
    less["metadata"] = "<a:owner xmlns:a='urn:a'><a:name>you</a:name></a:owner>"
    told = converge("kvm_domain.running", **less)
    assert len(qmp("query-iothreads")) == 1
    assert f"{device},1000000" not in virsh("blkiotune", NAME)
    assert documents()[0].findtext("metadata/{urn:a}owner/{urn:a}name") == "you"
    # A pin can only be changed while the guest runs.
    assert "Waits" not in told["comment"], told["comment"]
    assert virsh("domid", NAME) == running


def test_what_libvirt_refuses_waits(converge, run, fields, running):
    """A guest whose memory is not shared takes no folder: from then on the dry run knows."""
    folder = {"source": str(Path(fields["disks"][0]["path"]).parent), "target": "shared"}
    more = {
        **fields,
        "memory_backing": {"source": "memfd", "access": "shared"},
        "filesystems": [{**folder, "driver": "virtiofs"}],
        "title": "new",
    }
    told = run()("kvm_domain.running", **more)
    assert told["result"] is True, told["comment"]
    for _ in range(2):
        told = converge("kvm_domain.running", **more)
        assert told["changes"] == {}
        assert "live/devices/filesystem" in told["comment"].partition("Waits for")[2]
        assert "(attaching a device to domain" in told["comment"]
    live, inactive = documents()
    assert inactive.find("devices/filesystem") is not None
    assert live.findtext("title") == "new"
    assert virsh("domid", NAME) == running
    told = converge("kvm_domain.running", **more, restart=True, timeout=300)
    assert "Waits" not in told["comment"]
    assert documents()[0].find("devices/filesystem") is not None


def test_a_memory_module_waits_for_slots(converge, fields, running):
    more = {
        **fields,
        "memory": "384MiB",
        "cpu": {"numa": [{"id": 0, "cpus": "0-1", "memory": "256MiB"}]},
        "memory_hotplug": {"size": "1GiB", "slots": 2},
        "memory_devices": [{"model": "dimm", "size": "128MiB", "node": 0}],
    }
    told = converge("kvm_domain.running", **more)
    assert "(the guest has no NUMA cells)" in told["comment"]
    told = converge("kvm_domain.running", **more, restart=True, timeout=300)
    assert "Waits" not in told["comment"]
    assert [each["data"]["size"] for each in qmp("query-memory-devices")] == [128 * 1024**2]


def weighed(fields, network):
    """No scheduler of a device has weights here."""
    device = next(f"/dev/{p.name}" for p in Path("/sys/block").iterdir() if p.name[:2] != "lo")
    return {"blkiotune": {"devices": [{"path": device, "weight": 200}]}}


def throttled(fields, network):
    """This kernel has none of the queueing disciplines that a card is throttled by."""
    return {"interfaces": [{"network": network, "bandwidth": {"outbound": {"average": 100}}}]}


@pytest.mark.parametrize("limited", [weighed, throttled])
def test_what_would_keep_the_guest_from_starting_fails(run, fields, running, network, limited):
    """The host sets it in the same way at a start: to let it wait would be a trap."""
    more = {**fields, "title": "new", **limited(fields, network)}
    before = [ET.tostring(document) for document in documents()]
    for test in (True, False):
        told = run(test=test)("kvm_domain.running", **more)
        assert (told["result"], bool(told["changes"])) == ((None, True) if test else (False, False))
    assert told["comment"].endswith("Nothing was left changed.")
    assert [ET.tostring(document) for document in documents()] == before
    assert virsh("domid", NAME) == running
    # Were it defined, the guest would not come up again.
    virsh("destroy", NAME)
    told = run()("kvm_domain.running", **more)
    assert told["result"] is False
    assert "starting domain" in told["comment"]
    assert run()("kvm_domain.running", **fields)["changes"] == {
        "state": {"old": "off", "new": "running"}
    }


PLUGGED = {
    "rng": [{"device": "/dev/urandom"}, {"device": "/dev/random", "rate": {"bytes": 1000}}],
    "channels": [{"type": "unix", "name": "com.example.one"}],
    "consoles": [{"type": "pty"}],
    "inputs": [{"type": "tablet", "bus": "usb"}, {"type": "keyboard", "bus": "virtio"}],
    "redirdevs": [{"type": "spicevmc"}],
    "controllers": [{"type": "scsi", "index": 0, "model": "virtio-scsi"}],
}


def places(document):
    """The addresses of all devices, by tag."""
    found = {}
    for device in document.find("devices"):
        address = device.find("address")
        if address is not None:
            found.setdefault(device.tag, []).append(sorted(address.attrib.items()))
    return {tag: sorted(addresses) for tag, addresses in found.items()}


def test_other_devices_come_and_go(converge, fields, request):
    fields |= {"graphics": [{"type": "spice"}], **{name: [] for name in PLUGGED}}
    fields["rng"] = PLUGGED["rng"][:1]
    running = request.getfixturevalue("running")
    before = places(documents()[0])
    told = converge("kvm_domain.running", **{**fields, **PLUGGED})
    assert "Waits" not in told["comment"], told["comment"]
    assert {path.split("[")[0] for path in told["changes"] if path.startswith("live/")} == {
        f"live/devices/{tag}"
        for tag in ("rng", "channel", "console", "input", "redirdev", "controller")
    }
    assert len([path for path in told["changes"] if path.startswith("live/devices/input")]) == 2
    live, inactive = documents()
    assert places(live) == places(inactive)
    for tag, addresses in before.items():
        assert all(address in places(live)[tag] for address in addresses)
    told = converge("kvm_domain.running", **fields)
    assert "Waits" not in told["comment"], told["comment"]
    live, inactive = documents()
    assert places(live) == places(inactive)
    assert virsh("domid", NAME) == running


def test_a_memory_module_comes_and_goes(converge, fields, request):
    cells = [{"id": 0, "cpus": "0-1", "memory": "256MiB"}]
    fields |= {"cpu": {"numa": cells}, "memory_hotplug": {"size": "1GiB", "slots": 2}}
    fields["memory_devices"] = []
    running = request.getfixturevalue("running")
    module = {"model": "dimm", "size": "128MiB", "node": 0}
    more = {**fields, "memory": "384MiB", "memory_devices": [module]}
    told = converge("kvm_domain.running", **more)
    assert "live/devices/memory" in told["changes"]
    assert "Waits" not in told["comment"]
    assert [each["data"]["size"] for each in qmp("query-memory-devices")] == [128 * 1024**2]
    told = converge("kvm_domain.running", **fields)
    assert "Waits" not in told["comment"]
    assert qmp("query-memory-devices") == []
    assert virsh("domid", NAME) == running


def test_a_card_comes_and_goes_with_one_mac(converge, fields, running, network):
    more = {**fields, "interfaces": [{"network": network}, {"network": network}]}
    before = documents()[1].find("devices/interface/mac").get("address")
    converge("kvm_domain.running", **more)
    live, inactive = (
        [(i.find("mac").get("address"), i.find("address").attrib) for i in d.iter("interface")]
        for d in documents()
    )
    assert live == inactive
    assert live[0][0] == before
    assert len({mac for mac, _address in live}) == 2
    converge("kvm_domain.running", **fields)
    assert [i.find("mac").get("address") for i in documents()[0].iter("interface")] == [before]


def test_a_card_moves_to_another_network_at_once(converge, run, fields, running):
    other = f"{PREFIX}other"
    run()("kvm_network.running", name=other, forward="isolated")
    converge("kvm_domain.running", **{**fields, "interfaces": [{"network": other}]})
    for document in documents():
        assert document.find("devices/interface/source").get("network") == other


def test_cpus_are_added_up_to_the_maximum(converge, fields, running):
    changes = converge("kvm_domain.running", **{**fields, "vcpus": 2})["changes"]
    assert changes["live/vcpu/@current"] == {"old": "1", "new": "2"}
    # Given back only at the next boot, and told until then.
    told = converge("kvm_domain.running", **fields)
    assert "live/vcpu/@current" not in told["changes"]
    assert "Waits for the next start: vcpu/@current '2' -> '1'" in told["comment"]


def test_title_and_password_change_at_once(converge, fields, running):
    fields["graphics"][0]["password"] = "second"
    xml = fields["xml"] + "<title>A title</title><description>About it</description>"
    told = converge("kvm_domain.running", **{**fields, "xml": xml})
    assert "Waits" not in told["comment"]
    live, _inactive = documents()
    assert (live.findtext("title"), live.findtext("description")) == ("A title", "About it")
    shown = virsh("dumpxml", "--security-info", NAME)
    assert "passwd='second'" in shown


def test_memory_waits_for_a_guest_without_a_balloon_driver(converge, fields, running):
    told = converge("kvm_domain.running", **{**fields, "memory": "192MiB"})
    assert "Waits for the next start: memory '256MiB' -> '192MiB'" in told["comment"]
    assert virsh("domid", NAME) == running


def test_what_is_taken_out_of_a_device_is_told_until_the_next_start(converge, fields, request):
    """A list inside a device that stays: the definition has it no more, the guest still has."""
    sound = {"model": "ich9", "codecs": ["duplex", "micro"]}
    fields["sounds"] = [sound]
    request.getfixturevalue("running")
    less = {**fields, "sounds": [{**sound, "codecs": ["duplex"]}]}
    for _ in range(2):
        told = converge("kvm_domain.running", **less)
        assert "Waits for the next start: live/devices/sound/codec" in told["comment"]
    live, inactive = documents()
    assert [len(each.findall("devices/sound/codec")) for each in (live, inactive)] == [2, 1]
    told = converge("kvm_domain.running", **less, restart=True, timeout=300)
    assert "Waits" not in told["comment"]


def test_restart_brings_what_waits(converge, fields, running):
    told = converge("kvm_domain.running", **fields, machine=None, cpu="Nehalem")
    assert "Waits" in told["comment"]
    restarted = converge("kvm_domain.running", **fields, cpu="Nehalem", restart=True, timeout=300)
    assert "Shut down" in restarted["comment"]
    assert "Waits" not in restarted["comment"]
    assert virsh("domid", NAME) != running


def test_a_device_that_the_guest_keeps_is_told_and_tried_again(run, fields):
    """Firmware without an operating system releases nothing."""
    frozen = {**fields, "xml": None}
    run()("kvm_domain.running", **frozen)
    for _ in range(2):
        told = run()("kvm_domain.running", **{**frozen, "disks": []})
        assert told["result"] is False
        assert "but that is not as declared: live/devices/disk" in told["comment"]
        assert "The guest has not released it" in told["comment"]
    assert documents()[1].find("devices/disk") is None
    virsh("destroy", NAME)
    assert run()("kvm_domain.running", **{**frozen, "disks": []})["result"] is True


def test_a_disk_whose_place_is_needed_is_kept_by_a_guest_that_is_not_up(run, fields, running):
    """What it releases later is no harm: the next run goes on from there."""
    other = Path(fields["disks"][0]["path"]).with_name("other.raw")
    other.write_bytes(b"\0" * 1024**2)
    before = documents()
    fields["disks"] = [{"path": str(other), "target": "vda"}]
    virsh("suspend", NAME)
    try:
        told = run()("kvm_domain.running", **fields)
        assert told["result"] is False
        assert "does not release disk[" in told["comment"]
        assert "Nothing was left changed." in told["comment"]
        for was, now in zip(before, documents(), strict=True):
            assert _sources(was) == _sources(now)
    finally:
        virsh("resume", NAME)
    wait_for(lambda: not _sources(documents()[0]), "the guest's answer")
    told = run()("kvm_domain.running", **fields)
    assert told["result"] is True, told["comment"]
    assert [_sources(document) for document in documents()] == [[str(other)]] * 2


def _sources(document):
    disks = document.findall("devices/disk[@device='disk']")
    return [disk.find("source").get("file") for disk in disks]


def test_a_watch_restarts_a_running_guest_gracefully(run, fields, running):
    """As Salt calls it when what the state watches has changed."""
    for test in (True, False):
        told = run(test=test)("kvm_domain.mod_watch", sfun="running", timeout=300, **fields)
        assert told["changes"] == {"state": {"old": "running", "new": "restarted"}}, told
        assert told["result"] is (None if test else True)
    assert virsh("domid", NAME) not in (running, "-")
    log = Path(fields["serial"][0]["log"])
    wait_for(lambda: "power button" in log.read_text(), "what it said at last")
    assert run()("kvm_domain.mod_watch", sfun="present", **fields)["changes"] == {}
