"""Guests that something else made: declared as they are nothing changes, then what is declared."""

import subprocess

import pytest

from .conftest import PREFIX, virsh

NAME = f"{PREFIX}others"
MAC = "52:54:00:aa:bb:01"
# As Salt's own module wrote them: the oldest machine type, hardly more than disk and card.
SALT = """
<domain type='qemu'>
  <name>{name}</name>
  <vcpu>1</vcpu>
  <memory unit='KiB'>65536</memory>
  <currentMemory unit='KiB'>65536</currentMemory>
  <os><type arch='x86_64'>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='native'/>
      <source file='{image}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='{mac}'/>
      <source network='{network}'/>
      <model type='virtio'/>
    </interface>
    <graphics type='vnc' port='-1' autoport='yes' listen='0.0.0.0'/>
    <serial type='pty'/>
    <console type='pty'/>
  </devices>
</domain>
"""
# As virt-install and the programs on top of it do: a modern machine with all that belongs to one.
INSTALLED = """
<domain type='qemu'>
  <name>{name}</name>
  <metadata>
    <os:libosinfo xmlns:os='http://libosinfo.org/xmlns/libvirt/domain/1.0'>
      <os:os id='http://debian.org/debian/12'/>
    </os:libosinfo>
  </metadata>
  <memory>65536</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/>
  </clock>
  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{image}'/>
      <target dev='vda' bus='virtio'/>
      <boot order='1'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/><readonly/><boot order='2'/>
    </disk>
    <controller type='usb' model='qemu-xhci' ports='15'/>
    <controller type='pci' model='pcie-root'/>
    <controller type='pci' model='pcie-root-port'/>
    <interface type='network'>
      <source network='{network}'/>
      <mac address='{mac}'/>
      <model type='virtio'/>
    </interface>
    <console type='pty'/>
    <channel type='unix'>
      <source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <input type='tablet' bus='usb'/>
    <graphics type='vnc' port='-1' listen='0.0.0.0'/>
    <video><model type='virtio'/></video>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""


@pytest.fixture(params=[SALT, INSTALLED], ids=["salt", "virt-install"])
def there(request, folder, network, run, libvirtd):
    """The fields that tell what is there; the guest runs."""
    image = folder / "disk.qcow2"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", str(image), "8M"]
    subprocess.run(make, check=True)
    text = request.param.format(name=NAME, image=image, network=network, mac=MAC)
    document = folder / "guest.xml"
    document.write_text(text)
    assert "defined" in virsh("define", str(document))
    assert "started" in virsh("start", NAME)
    yield {
        "name": NAME,
        "virt_type": "qemu",
        "memory": "64MiB",
        "vcpus": 1,
        "disks": [{"path": str(image), "format": "qcow2"}],
        "interfaces": [{"network": network}],
        "graphics": [{"type": "vnc", "listen": "0.0.0.0"}],
    }
    run()("kvm_domain.absent", name=NAME, force=True, timeout=0)


def test_a_guest_of_another_tool_is_declared_as_it_is(run, converge, there, folder):
    identity, was = virsh("domid", NAME), virsh("dumpxml", "--inactive", NAME)
    told = run()("kvm_domain.running", **there)
    assert (told["result"], told["changes"]) == (True, {}), told
    assert virsh("dumpxml", "--inactive", NAME) == was

    more = {**there, "vcpus": 2, "title": "ours", "cdrom": "/usr/lib/ipxe/ipxe.iso"}
    real = converge("kvm_domain.running", **more)
    # A drive that is there takes the medium at once; one that is not waits, as the CPUs do.
    assert {"title", "live/title", "vcpu"} <= set(real["changes"])
    assert virsh("domid", NAME) == identity
    for kept in (MAC, "vda", str(folder / "disk.qcow2")):
        assert kept in virsh("dumpxml", "--inactive", NAME)
    assert virsh("dumpxml", "--inactive", NAME).count("<disk ") == 2
