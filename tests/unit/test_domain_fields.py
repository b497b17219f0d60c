"""The typed fields of a domain: what is refused, with its path, and what is told of changes."""

from xml.etree import ElementTree as ET

import pytest

from salt_kvm.errors import SpecError
from salt_kvm.seen import Facts
from salt_kvm.spec.convert import convert
from salt_kvm.spec.domain import Domain
from salt_kvm.xml import domain
from salt_kvm.xml.merge import HIDDEN, merge

FACTS = Facts(arch="x86_64", kvm=False)
BAD = [
    ({"disks": [{}]}, "disks[0]: a disk needs one of 'path'"),
    ({"disks": [{"path": "/a", "block": "/dev/b"}]}, "disks[0]: a disk needs one of 'path'"),
    ({"disks": [{"block": "/dev/b", "size": "1GiB"}]}, "'size' makes an image"),
    ({"disks": [{"path": "/a", "target": "vda", "bus": "scsi"}]}, "target vda is none of bus scsi"),
    ({"disks": [{"path": "/a", "cashe": "none"}]}, "disks[0]: unknown key 'cashe'; did you mean"),
    ({"disks": [{"path": "/a", "iotune": {"total_iops_sec": -1}}]}, "disks[0]:iotune:total_iops"),
    ({"disks": [{"path": "/a", "wwn": "12"}]}, "disks[0]:wwn"),
    ({"disks": [{"path": "/a", "serial": "a\0"}]}, "disks[0]:serial"),
    ({"disks": [{"nvme": {"address": "1"}}]}, "disks[0]:nvme:address"),
    ({"interfaces": [{}]}, "an interface needs one of"),
    ({"interfaces": [{"network": "a", "mode": "vepa"}]}, "'mode' goes with direct"),
    ({"interfaces": [{"user": True, "vlan": 4}]}, "'vlan' goes with"),
    ({"interfaces": [{"bridge": "b", "vlan": 5000}]}, "interfaces[0]:vlan"),
    ({"interfaces": [{"bridge": "b", "mtu": 10}]}, "interfaces[0]:mtu"),
    ({"interfaces": [{"bridge": "b", "link": False}]}, "interfaces[0]:link"),
    ({"graphics": [{"listen": "everywhere"}]}, "graphics[0]"),
    ({"graphics": [{"socket": "/a", "port": "auto"}]}, "'socket' takes the place of"),
    ({"graphics": [{"default_mode": "any"}]}, "'default_mode' does not go with type vnc"),
    ({"graphics": [{"type": "spice", "websocket": "auto"}]}, "'websocket' does not go with"),
    ({"video": [{"model": "voodoo"}]}, "video[0]:model"),
    ({"serial": [{"type": "file"}]}, "type file needs 'path'"),
    ({"serial": [{"type": "pty", "service": 4}]}, "'service' goes with type tcp"),
    ({"channels": [{}]}, "channels[0]"),
    ({"tpm": {"version": 3.0}}, "a TPM has version"),
    ({"tpm": {"type": "passthrough"}}, "'device' goes with type passthrough"),
    ({"rng": [{"backend": "builtin", "device": "/a"}]}, "'device' goes with backend random"),
    ({"hostdevs": [{}]}, "a hostdev needs one of"),
    ({"hostdevs": [{"pci": "06:02.0"}]}, "hostdevs[0]:pci"),
    ({"hostdevs": [{"mdev": "c2177883-f1bb-47f0-914d-32a22e3a8804"}]}, "'model' goes with 'mdev'"),
    ({"inputs": [{"type": "passthrough"}]}, "'device' goes with type passthrough"),
    ({"vsock": {"cid": 2}}, "vsock:cid"),
    ({"cpu": {"mode": "host-model", "model": "EPYC"}}, "'model' goes with mode custom"),
    ({"cpu": {"mode": "custom"}}, "mode custom needs 'model'"),
    ({"cpu": {"migratable": True}}, "'migratable' goes with mode host-passthrough"),
    ({"cpu": {"features": {"vmx": "maybe"}}}, "cpu:features:vmx"),
    ({"cpu": "a b"}, "cpu"),
    ({"memory": "1GiB", "memory_devices": [], "cpu": {"numa": [{"id": 0, "memory": "1MiB"}]}},
     "NUMA cells and memory modules sum up to 1MiB, not 1GiB"),
    ({"cputune": {"vcpupin": [{"vcpu": 0, "cpuset": "0--1"}]}}, "cputune:vcpupin[0]:cpuset"),
    ({"memtune": {"hard_limit": "much"}}, "memtune:hard_limit"),
    ({"os": {"secure_boot": True}}, "'secure_boot' and 'enrolled_keys' need firmware: efi"),
    ({"os": {"firmware": "efi", "loader": "/a"}}, "declare one of the two"),
    ({"clock": {"offset": "timezone"}}, "'timezone' goes with offset timezone"),
    ({"clock": {"basis": "utc"}}, "'basis' goes with offset variable"),
    ({"clock": {"timers": [{"name": "sundial"}]}}, "clock:timers[0]:name"),
    ({"features": {"acpi": "on"}}, "features:acpi"),
    ({"title": "two\nlines"}, "title"),
    ({"description": ""}, "description"),
    ({"boot": ["hd"], "disks": [{"path": "/a", "boot_order": 1}]}, "exclude each other"),
    ({"disks": [{"path": "/a", "boot_order": 1}, {"path": "/b", "boot_order": 1}]},
     "two devices have the same 'boot_order'"),
    ({"on_crash": "explode"}, "on_crash"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), BAD, ids=lambda value: str(value)[:60])
def test_a_fault_is_told(fields, told):
    with pytest.raises(SpecError) as error:
        convert(Domain, fields, "kvm:domains:web1")
    assert any(told in problem for problem in error.value.problems), error.value.problems


def changed(seen, **fields):
    """Return what declaring ``fields`` changes in a document, and the document."""
    root = ET.fromstring(f"<domain type='qemu'><name>web1</name>{seen}</domain>")
    want = convert(Domain, fields, "kvm:domains:web1")
    result = merge(root, domain.intent("web1", want, FACTS))
    return {d.path: (d.old, d.new) for d in result.differences}, domain.complete(
        result.xml, result.added
    )


IMPLICIT = """<devices>
  <input type='mouse' bus='ps2'/><input type='keyboard' bus='ps2'/>
  <serial type='pty'><target type='isa-serial' port='0'/></serial>
  <console type='pty'><target type='serial' port='0'/></console>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  <watchdog model='itco' action='reset'/>
  <memballoon model='none'/>
</devices>"""


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": []},
        {"inputs": [{"type": "keyboard"}]},
        {"consoles": []},
        {"channels": []},
        {"agent": True},
        {"watchdog": []},
        {"memballoon": False},
        {"tpm": False},
        {"vsock": False},
        {"cputune": {"vcpupin": []}},
        {"numatune": {"memnode": []}},
    ],
    ids=str,
)
def test_what_libvirt_adds_by_itself_is_no_drift(fields):
    assert changed(IMPLICIT, **fields)[0] == {}


@pytest.mark.parametrize(
    ("seen", "fields", "left"),
    [
        ("<clock offset='timezone' timezone='Europe/Berlin'/>", {"clock": {"offset": "utc"}},
         "<clock offset='utc'/>"),
        ("<devices><video><model type='qxl' vram='65536' heads='1'/></video></devices>",
         {"video": [{"model": "virtio"}]},
         "<devices><video><model type='virtio'/></video></devices>"),
        ("<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>",
         {"tpm": {"type": "passthrough", "device": "/dev/tpm0"}},
         "<devices><tpm model='tpm-crb'><backend type='passthrough'><device path='/dev/tpm0'/>"
         "</backend></tpm></devices>"),
        ("<devices><serial type='tcp'><source mode='bind' host='::1' service='1'/>"
         "<protocol type='raw'/></serial></devices>",
         {"serial": [{"type": "pty"}]}, "<devices><serial type='pty'/></devices>"),
        ("<cputune><vcpupin vcpu='0' cpuset='0'/><shares>5</shares></cputune>",
         {"cputune": {"vcpupin": []}}, "<cputune><shares>5</shares></cputune>"),
    ],
)  # fmt: skip
def test_what_belonged_to_the_old_variant_goes(seen, fields, left):
    found = changed(seen, **fields)[1][1]
    assert ET.canonicalize(ET.tostring(found)) == ET.canonicalize(left)


def test_a_set_of_cpus_is_equal_in_any_spelling():
    seen = "<cputune><vcpupin vcpu='0' cpuset='0-2,4'/></cputune>"
    for cpuset in ("0,1,2,4", "0-4,^3"):
        assert changed(seen, cputune={"vcpupin": [{"vcpu": 0, "cpuset": cpuset}]})[0] == {}
    assert changed(seen, cputune={"vcpupin": [{"vcpu": 0, "cpuset": "0-3"}]})[0]


def test_passwords_are_not_shown():
    told, _ = changed("", graphics=[{"type": "spice", "password": "a secret"}])
    assert "a secret" not in str(told)
    assert HIDDEN in str(told)


def test_disk_that_moves_from_a_file_to_a_block_device_keeps_its_target():
    seen = """<devices><disk type='file' device='disk'><source file='/a'/>
      <target dev='vda' bus='virtio'/></disk></devices>"""
    root = changed(seen, disks=[{"block": "/dev/a", "target": "vda"}])[1]
    (disk,) = root.iter("disk")
    assert (disk.get("type"), disk.find("source").attrib) == ("block", {"dev": "/dev/a"})
