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


def cells(*cpus):
    """Return NUMA cells with these CPUs; of ``None`` a cell says nothing."""
    known = [{"id": id, "memory": "1GiB", "cpus": some} for id, some in enumerate(cpus)]
    return {"cpu": {"numa": [{k: v for k, v in cell.items() if v is not None} for cell in known]}}


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
    ({"graphics": [{"listen": "none", "port": "auto"}]}, "listen none goes with no port"),
    ({"graphics": [{"listen": "none", "websocket": 5700}]}, "listen none goes with no port"),
    ({"graphics": [{"default_mode": "any"}]}, "'default_mode' does not go with type vnc"),
    ({"graphics": [{"type": "spice", "websocket": "auto"}]}, "'websocket' does not go with"),
    ({"graphics": [{"password_valid_to": "never"}]}, "'password_valid_to' goes with 'password'"),
    ({"graphics": [{"password": "a", "password_valid_to": "soon"}]}, "'soon' is no time; write it"),
    ({"graphics": [{"password": "a", "password_valid_to": 5}]}, "5 is no time; write it in UTC"),
    ({"graphics": [{"type": "spice", "password": "a" * 61}]}, "has 60 characters of ASCII at most"),
    ({"video": [{"model": "voodoo"}]}, "video[0]:model"),
    ({"serial": [{"type": "file"}]}, "type file needs 'path'"),
    ({"serial": [{"type": "pty", "service": 4}]}, "'service' goes with tcp, not with 'pty'"),
    ({"serial": [{"port": 1}, {"port": 1}]}, "two entries have the same port"),
    ({"channels": [{}]}, "channels[0]"),
    ({"tpm": {"version": 3.0}}, "a TPM has version"),
    ({"tpm": {"type": "passthrough"}}, "'device' goes with type passthrough"),
    ({"rng": [{"backend": "builtin", "device": "/a"}]}, "'device' goes with backend random"),
    ({"hostdevs": [{}]}, "a hostdev needs one of"),
    ({"hostdevs": [{"pci": "06:02"}]}, "hostdevs[0]:pci"),
    ({"interfaces": [{"bridge": "b", "vlan": [5, 5]}]}, "two entries have the same VLAN tag"),
    ({"hostdevs": [{"mdev": "c2177883-f1bb-47f0-914d-32a22e3a8804"}]}, "'model' goes with 'mdev'"),
    ({"inputs": [{"type": "passthrough"}]}, "'device' goes with type passthrough"),
    ({"vsock": {"cid": 2}}, "vsock:cid"),
    ({"cpu": {"mode": "host-model", "model": "EPYC"}}, "'model' goes with mode custom"),
    ({"cpu": {"mode": "custom"}}, "mode custom needs 'model'"),
    ({"cpu": {"mode": "host-model", "match": "minimum"}}, "'match' needs 'model'"),
    ({"cpu": {"fallback": "allow"}}, "'fallback' goes with 'model', or with mode host-model"),
    ({"cpu": {"migratable": True}}, "'migratable' goes with mode host-passthrough"),
    ({"cpu": {"features": {"vmx": "maybe"}}}, "cpu:features:vmx"),
    ({"cpu": "a b"}, "cpu"),
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
    ({"title": "a newline\n"}, "title"),
    ({"disks": [{"path": "/a", "target": "vda\n"}]}, "disks[0]:target"),
    ({"serial": [{"type": "pty", "path": "/a"}]}, "'path' goes with file or dev or pipe or unix"),
    ({"serial": [{"type": "unix"}]}, "type unix needs 'path'"),
    ({"channels": [{"name": "a", "type": "unix", "mode": "bind"}]}, "'mode' goes with 'path'"),
    ({"serial": [{"type": "pipe", "path": "/a", "append": True}]}, "'append' goes with file"),
    ({"serial": [{"type": "tcp", "service": 4}]}, "type tcp needs 'host'"),
    ({"graphics": [{"type": "spice", "port": "auto", "tls_port": 5901}]}, "'tls_port' goes with"),
    ({"graphics": [{"password": "\u00e4\u00e4\u00e4\u00e4\u00e4"}]}, "8 characters of ASCII"),
    ({"video": [{"model": "vga", "ram": "1MiB"}]}, "'ram' goes with qxl"),
    ({"video": [{"model": "none", "heads": 1}]}, "video model none has no other key"),
    ({"video": [{"model": "qxl", "primary": False}]}, "the first video card is the primary one"),
    ({"video": [{"model": "qxl"}, {"model": "vga"}]}, "video model vga can only be the primary"),
    ({"sounds": [{"model": "ac97", "codecs": ["micro"]}]}, "'codecs' goes with ich6 or ich9"),
    ({"tpm": {"type": "passthrough", "device": "/a", "version": 1.2}}, "'version' goes with"),
    ({"tpm": {"active_pcr_banks": ["sha1"]}}, "'active_pcr_banks' need version '2.0'"),
    ({"filesystems": [{"source": "/a", "target": "a", "queue": 1}]}, "'queue' goes with virtiofs"),
    ({"hostdevs": [{"usb": {"vendor": 1, "product": 2}, "rom": True}]}, "'rom' goes with pci"),
    ({"inputs": [{"type": "tablet", "bus": "ps2"}]}, "a tablet is not on bus ps2"),
    ({"controllers": [{"type": "scsi"}, {"type": "scsi"}]}, "the same type and index"),
    ({"controllers": [{"type": "sata", "queues": 2}]}, "'queues' goes with scsi"),
    ({"panic": [{}, {}]}, "two entries have the same model"),
    ({"channels": [{"name": "a"}, {"name": "a"}]}, "two entries have the same name"),
    ({"interfaces": [{"user": True, "model": "e1000", "queues": 2}]}, "'queues' goes with virtio"),
    ({"interfaces": [{"user": True, "driver": "vfio"}]}, "driver vfio goes with 'hostdev'"),
    ({"interfaces": [{"user": True, "rx_queue_size": 500}]}, "is a power of two"),
    ({"interfaces": [{"bridge": "b", "bandwidth": {"inbound": {}}}]}, "a rate needs 'average'"),
    ({"interfaces": [{"bridge": "b", "filterref": {"name": "a & b"}}]}, "filterref:name"),
    ({"interfaces": [{"bridge": "b", "filterref": {"name": "a", "parameters": {"IP": "a b"}}}]},
     "filterref:parameters:IP"),
    ({"interfaces": [{"user": True, "mtu": 1400}]}, "'mtu' goes with network or bridge or ether"),
    ({"interfaces": [{"ethernet": True, "virtualport": {"type": "openvswitch"}}]},
     "'virtualport' goes with network or bridge or direct or hostdev"),
    ({"interfaces": [{"vhostuser": {"path": "/a"}, "model": "e1000"}]}, "with a model of virtio"),
    ({"interfaces": [{"bridge": "b", "bandwidth": {"inbound": {"floor": 1}}}]}, "'floor' goes"),
    ({"interfaces": [{"bridge": "b", "isolated": True, "virtualport": {"type": "openvswitch"}}]},
     "'isolated' does not go with virtualport openvswitch"),
    ({"disks": [{"path": "/a", "format": "vhdx"}]}, "libvirt knows no vhdx disk"),
    ({"disks": [{"path": "/a", "bus": "fdc"}]}, "bus fdc goes with device floppy"),
    ({"disks": [{"path": "/a", "device": "cdrom", "readonly": False}]}, "cdrom can only be read"),
    ({"disks": [{"path": "/a", "device": "lun"}]}, "device lun is a block device"),
    ({"disks": [{"path": "/a", "io": "native", "cache": "unsafe"}]}, "io native needs cache none"),
    ({"disks": [{"network": {"protocol": "rbd"}}]}, "protocol rbd needs 'name'"),
    ({"disks": [{"network": {"protocol": "nbd"}}]}, "protocol nbd needs one of 'hosts'"),
    ({"disks": [{"path": "/a", "iotune": {"total_iops_sec": 1, "read_iops_sec": 1}}]}, "exclude"),
    ({"iothreads": 400_000_000}, "iothreads"),
    ({"vcpus": 2, "cputune": {"vcpupin": [{"vcpu": 2, "cpuset": 0}]}}, "there is no vcpu 2 to pin"),
    ({"cputune": {"quota": 10}}, "1000 microseconds at least"),
    ({"blkiotune": {"devices": [{"path": "/a"}]}}, "a device without any limit"),
    ({"numatune": {"nodeset": 0, "placement": "auto"}}, "'nodeset' and placement auto exclude"),
    ({"memory_backing": {"hugepages": True, "source": "anonymous"}}, "no anonymous source"),
    ({"os": {"firmware": "efi", "loader_type": "rom"}}, "'firmware' chooses 'loader_type'"),
    ({"os": {"nvram_template": "/a"}}, "'nvram_template' goes with a loader; declare 'loader' too"),
    ({"clock": {"offset": "utc", "adjustment": 5}}, "adjustment 5 goes with offset variable"),
    ({"sysinfo": {"system": {"colour": "red"}}}, "sysinfo:system"),
    ({"on_poweroff": "preserve"}, "on_poweroff"),
    ({"on_poweroff": "restart", "on_reboot": "destroy"}, "exclude each other"),
    ({"vcpus": 4, **cells("0-1", 2)}, "the NUMA cells lack vcpu 3, which libvirt puts into cell 0"),
    ({"vcpus": 2, "max_vcpus": 4, **cells(0, None)}, "the NUMA cells lack vcpu 1"),
    ({"vcpus": 2, **cells("0-2")}, "there is no vcpu 2 for a NUMA cell; the last one is 1"),
    (cells("0-2,^1", "2,3"), "cpu: two entries have the same vcpu of a NUMA cell"),
    ({"cpu": {"numa": [{"id": 1, "memory": "1GiB"}]}}, "NUMA cells are numbered from 0 on"),
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
        {"cputune": {"quota": 0}},
        {"features": {"acpi": False, "apic": False}},
        {"memory_backing": {"hugepages": [], "locked": False}},
        {"memballoon": {"model": "none", "stats_period": 0}},
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
        ("<os firmware='efi'><nvram template='/t'>/n</nvram></os>", {"os": {"loader": "/l"}},
         "<os><nvram template='/t'>/n</nvram><loader>/l</loader></os>"),
        ("<os><loader type='pflash'>/l</loader><nvram template='/t'>/n</nvram></os>",
         {"os": {"firmware": "efi"}}, "<os firmware='efi'><nvram>/n</nvram></os>"),
        ("<numatune><memory mode='interleave' placement='auto'/></numatune>",
         {"numatune": {"nodeset": 1}},
         "<numatune><memory mode='interleave' nodeset='1' placement='static'/></numatune>"),
        ("<cputune><vcpupin vcpu='0' cpuset='0'/><shares>5</shares></cputune>",
         {"cputune": {"vcpupin": []}}, "<cputune><shares>5</shares></cputune>"),
        ("<devices><graphics type='spice'/><audio id='1' type='spice'/></devices>",
         {"graphics": [{"type": "vnc", "listen": "none"}]},
         "<devices><graphics type='vnc' port='-1' autoport='yes'><listen type='none'/></graphics>"
         "</devices>"),
        ("<os firmware='efi'><firmware><feature name='secure-boot' enabled='yes'/></firmware></os>",
         {"os": {"loader": "/l"}}, "<os><loader>/l</loader></os>"),
        ("<os firmware='efi'><firmware><feature name='secure-boot' enabled='yes'/>"
         "<feature name='enrolled-keys' enabled='yes'/></firmware><loader>/l</loader>"
         "<nvram template='/t' templateFormat='raw' format='raw'>/n</nvram></os>",
         {"os": {"firmware": "efi", "secure_boot": True, "enrolled_keys": False}},
         "<os firmware='efi'><firmware><feature name='secure-boot' enabled='yes'/>"
         "<feature name='enrolled-keys' enabled='no'/></firmware>"
         "<nvram format='raw'>/n</nvram></os>"),
        ("<os><loader>/l</loader><nvram>/n</nvram></os>", {"os": {"firmware": "bios"}},
         "<os firmware='bios'/>"),
        ("<devices><disk device='disk'><driver type='raw' queues='2' iothread='1' name='qemu'/>"
         "<target dev='vda' bus='virtio'/><source file='/a'/></disk></devices>",
         {"disks": [{"path": "/a", "bus": "sata", "target": "sda"}]},
         "<devices><disk type='file' device='disk'><driver type='raw' name='qemu'/>"
         "<target dev='sda' bus='sata'/><source file='/a'/></disk></devices>"),
        ("<devices><interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='b'/>"
         "<model type='e1000'/><mtu size='9000'/><port isolated='yes'/></interface></devices>",
         {"interfaces": [{"direct": "eth0", "mac": "52:54:00:00:00:01"}]},
         "<devices><interface type='direct'><mac address='52:54:00:00:00:01'/>"
         "<model type='e1000'/><source dev='eth0'/></interface></devices>"),
        ("<devices><interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>"
         "</devices>", {"interfaces": [{"bridge": "b"}]},
         "<devices><interface type='bridge'><mac address='52:54:00:00:00:01'/>"
         "<source bridge='b'/><model type='virtio'/></interface></devices>"),
        ("<devices><video><model type='virtio'><resolution x='8' y='6'/></model></video></devices>",
         {"video": [{"model": "cirrus"}]},
         "<devices><video><model type='cirrus'/></video></devices>"),
        ("<devices><video><model type='virtio' primary='yes'/></video><video><model type='qxl'/>"
         "</video></devices>", {"video": [{"model": "virtio"}, {"model": "qxl", "primary": True}]},
         "<devices><video><model type='virtio'/></video><video><model type='qxl' primary='yes'/>"
         "</video></devices>"),
        ("<devices><rng><boot order='2'/></rng><hub><boot order='1'/></hub>"
         "<redirdev type='spicevmc' bus='usb'/></devices>",
         {"redirdevs": [{"boot_order": 1}]},
         "<devices><rng><boot order='2'/></rng><hub/>"
         "<redirdev type='spicevmc' bus='usb'><boot order='1'/></redirdev></devices>"),
    ],
)  # fmt: skip
def test_what_belonged_to_the_old_variant_goes(seen, fields, left):
    found = changed(seen, **fields)[1][1]
    assert ET.canonicalize(ET.tostring(found)) == ET.canonicalize(left)


def test_the_number_of_cpus_and_threads_goes_before_what_libvirt_has_noted_of_each():
    cpus = "".join(f"<vcpu id='{n}' enabled='{'yes' if n < 2 else 'no'}'/>" for n in range(4))
    threads = "".join(f"<iothread id='{n}'/>" for n in (4, 1, 2))
    seen = f"<vcpu current='2'>4</vcpu><vcpus>{cpus}</vcpus>"
    seen += f"<iothreads>3</iothreads><iothreadids>{threads}</iothreadids>"
    same = changed(seen, vcpus=2, max_vcpus=4, iothreads=3)[1]
    assert (len(same.find("vcpus")), len(same.find("iothreadids"))) == (4, 3)
    other = changed(seen, vcpus=3, max_vcpus=4, iothreads=2)[1]
    assert other.find("vcpus") is None
    assert [each.get("id") for each in other.find("iothreadids")] == ["1", "2"]


def test_a_set_of_cpus_is_equal_in_any_spelling():
    seen = "<cputune><vcpupin vcpu='0' cpuset='0-2,4'/></cputune>"
    for cpuset in ("0,1,2,4", "0-4,^3"):
        assert changed(seen, cputune={"vcpupin": [{"vcpu": 0, "cpuset": cpuset}]})[0] == {}
    assert changed(seen, cputune={"vcpupin": [{"vcpu": 0, "cpuset": "0-3"}]})[0]


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("<devices><disk><source file='/a'/><driver><metadata_cache><max_size unit='KiB'>2"
         "</max_size></metadata_cache></driver></disk></devices>",
         "<devices><disk><driver name='qemu'><metadata_cache><max_size unit='bytes'>2048"
         "</max_size></metadata_cache></driver><source file='/a'/></disk></devices>"),
        ("<cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/></numa></cpu>",
         "<cpu><numa><cell id='0' cpus='0' memory='1048576' unit='KiB'/></numa></cpu>"),
        ("<memoryBacking><hugepages><page size='1' unit='G' nodeset='0'/></hugepages>"
         "</memoryBacking>",
         "<memoryBacking><hugepages><page size='1048576' unit='KiB' nodeset='0'/></hugepages>"
         "</memoryBacking>"),
        ("<features><smm><tseg unit='KiB'>49152</tseg></smm></features>",
         "<features><smm><tseg unit='MiB'>48</tseg></smm></features>"),
        ("<features><tcg><tb-cache unit='MiB'>1</tb-cache></tcg></features>",
         "<features><tcg><tb-cache unit='KiB'>1024</tb-cache></tcg></features>"),
        ("<devices><graphics type='spice'><channel name='main'/></graphics></devices>",
         "<devices><graphics type='spice'><channel name='main'/></graphics></devices>"),
        ("<devices><audio id='1' type='alsa'><input dev='a'/></audio></devices>",
         "<devices><audio id='1' type='alsa'><input dev='a'/></audio></devices>"),
        ("<devices><disk><source file='/a'/><driver><iothreads><iothread id='2'/></iothreads>"
         "</driver></disk></devices>", "<devices><disk><driver name='qemu'> <iothreads> "
         "<iothread id='2'/> </iothreads> </driver><source file='/a'/></disk></devices>"),
    ],
)  # fmt: skip
def test_a_fragment_is_no_drift_in_libvirts_spelling(declared, written):
    assert changed(written, xml=declared)[0] == {}


@pytest.mark.parametrize(
    "fragment",
    [
        "<iothreads>two</iothreads>",
        "<iothreadids><iothread id='one'/></iothreadids>",
        "<vcpu>two</vcpu>",
        "<vcpu current='one'>2</vcpu>",
        "<cputune><vcpupin vcpu='one' cpuset='0'/></cputune>",
        "<cputune><iothreadpin iothread='one' cpuset='0'/></cputune>",
        "<cpu><numa><cell id='0' memory='much'/></numa></cpu>",
    ],
)
def test_a_fragment_with_a_text_for_a_number_is_refused(fragment):
    with pytest.raises(SpecError, match="can't be: invalid literal"):
        changed("", xml=fragment)


def test_passwords_are_not_shown():
    told, _ = changed("", graphics=[{"type": "spice", "password": "a secret"}])
    assert "a secret" not in str(told)
    assert HIDDEN in str(told)


DRIVE = """<devices><disk type='file' device='disk'><source file='/a'/>
  <target dev='{}' bus='{}'/><address type='drive' controller='{}' bus='{}' target='0' unit='{}'/>
  </disk></devices>"""


@pytest.mark.parametrize(
    ("place", "free"),
    [
        (("sda", "sata", 0, 0, 0), "sdb"),
        (("sdk", "sata", 0, 0, 0), "sdb"),
        (("sda", "sata", 0, 0, 1), "sdc"),
        (("sdb", "scsi", 0, 0, 0), "sdc"),
        (("hdx", "ide", 0, 0, 0), "hdb"),
        (("sdk", "sata", 1, 0, 0), "sda"),
    ],
)
def test_a_new_disk_has_a_name_whose_place_is_free(place, free):
    """libvirt takes the place from the name, and refuses one that another drive has."""
    disks = [{"path": "/a"}, {"path": "/b", "bus": place[1]}]
    _told, made = changed(DRIVE.format(*place), disks=disks)
    assert [each.get("dev") for each in made.iterfind("devices/disk/target")] == [place[0], free]


def test_a_drive_that_is_renamed_moves_to_the_place_of_its_name():
    _told, made = changed(
        DRIVE.format("sdb", "sata", 0, 0, 1), disks=[{"path": "/a", "target": "sdd"}]
    )
    assert made.find("devices/disk/address") is None


def test_disk_that_moves_from_a_file_to_a_block_device_keeps_its_target():
    seen = """<devices><disk type='file' device='disk'><source file='/a'/>
      <target dev='vda' bus='virtio'/></disk></devices>"""
    root = changed(seen, disks=[{"block": "/dev/a", "target": "vda"}])[1]
    (disk,) = root.iter("disk")
    assert (disk.get("type"), disk.find("source").attrib) == ("block", {"dev": "/dev/a"})
