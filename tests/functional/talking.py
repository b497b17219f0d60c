"""A guest that can be seen and talked to: a keyboard, a network card, Debian's guest agent.

It prints ``salt-kvm guest up`` on its serial port, runs what it is sent there, and prints what is
typed on its keyboard. ``/data`` is a file system on the first disk, where there is one. Told
``greets``, its agent answers what libvirt greets it with and nothing else; ``silent``: it has none.
"""

import re
import shutil
import subprocess
import time
import tty

from waiting import wait_for

from .ramdisk import BUTTON

MODULES = (
    "button", "evdev", "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev",
    "virtio_pci", "virtio_console", "failover", "net_failover", "virtio_net", "virtio_blk",
)  # fmt: skip
AGENT = "/usr/sbin/qemu-ga"
# What makes it be found: ``agent`` starts one, and with an address port 2222 is open.
PORTS = """\
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*/name; do
    number=${port%/name}
    ln -s "../${number##*/}" "/dev/virtio-ports/$(cat "$port")"
done
agent() { qemu-ga -d -f /var/run/qemu-ga.pid $*; }
"""
CARD = """\
if ifconfig eth0 up; then
cat >/bin/leased <<'END'
#!/bin/sh
[ "$1" != bound ] || ifconfig eth0 "$ip" netmask "$subnet"
END
chmod +x /bin/leased
(udhcpc -i eth0 -q -s /bin/leased >/dev/null 2>&1; nc -ll -p 2222 -e /bin/true) &
fi
"""
INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /data /tmp /root /etc /var/run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for module in /modules/*.ko; do insmod $module; done
until [ -e /dev/tty1 ]; do sleep 0.1; done
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'PRETTY_NAME="Debian for tests"' >/etc/os-release
cat >/bin/chpasswd <<'END'
#!/bin/sh
read -r told
echo "chpasswd $@: $told" >>/root/passwords
END
chmod +x /bin/chpasswd
[ -e /dev/rtc0 ] || mknod /dev/rtc0 c 250 0
[ ! -b /dev/vda ] || mount -t ext4 /dev/vda /data
export PATH=/bin:/sbin:/usr/sbin
mkdir -p /sbin
ln -s /bin/busybox /sbin/hwclock
{PORTS}
greets() {{
    while read -r asked; do case $asked in *guest-sync*)
        id=${{asked##*id\\":}}; id=${{id%%[!0-9]*}}; mark=
        case $asked in *delimited*) mark='\\377' ;; esac
        printf "$mark{{\\"return\\": $id}}\\n" ;;
    esac; done <>/dev/virtio-ports/org.qemu.guest_agent.0 >&0
}}
case $(cat /proc/cmdline) in
    *silent*) ;;
    *greets*) greets & ;;
    *restricted*) agent -b guest-exec,guest-file-open ;;
    *) agent ;;
esac
{CARD}
(while read -r line; do echo "typed <$line>" >/dev/ttyS0; done </dev/tty1) &
{BUTTON}
(pressed; poweroff -f) &
echo "salt-kvm guest up"
while read -r line; do sh -c "$line"; done
"""


def root(folder):
    """Put the agent and the libraries that it needs where an initramfs is made."""
    told = subprocess.check_output(["ldd", AGENT], text=True)
    for path in (AGENT, *re.findall(r"(/\S+) \(0x", told)):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def say(name, line, log):
    """Send a guest's serial port a line, which it echoes into its log.

    QEMU takes it only while somebody has its terminal open, for which it looks once a second; and
    it waits for whoever has it open to read.
    """
    told = subprocess.check_output(["virsh", "-q", "ttyconsole", name], text=True)
    known = log().count(line[:20])
    with open(told.strip(), "w") as port:
        tty.setraw(port)
        time.sleep(2)
        print(line, file=port, flush=True)
        wait_for(lambda: log().count(line[:20]) > known, line)
