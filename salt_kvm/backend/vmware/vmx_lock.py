"""VMware's locks on a machine's file: while the machine is on, or open for its settings.

A lock is a file ``M*.lck`` in the directory ``<name>.vmx.lck``, and names its host and its process.
One of this host whose process is gone is of no account to VMware, nor is it here: "Using Lock
Files" of the Workstation manual. Source of the format: open-vm-tools, ``lib/file``:
``fileLockPrimitive.c``, ``fileLockPosix.c`` and ``file.c``; ``lib/misc/machineID.c``.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ObserveError

# Host, process, number, kind, when the process began; its name may follow it.
TEXT = re.compile(
    rb"(?P<host>\S+) (?P<process>\d+)(?:-(?P<began>\d+)\S*)? \d+ [SX] (?P<older>\d+)(?: .*)?"
)
SIZE = 512
CARDS = range(8)
# Linux, netdevice(7): a name of 16 bytes, a family of 2, the address.
SIOCGIFHWADDR = 0x8927
ADDRESS = slice(18, 24)


def held(path: str) -> str | None:
    """Return the paths of the locks on a file that count; their names are drawn anew each time."""
    # VMware puts it beside a link to the file, where the machine was opened by that.
    folders = dict.fromkeys(f"{each}.lck" for each in (os.path.realpath(path), path))
    locks = [lock for folder in folders for lock in _locks(folder) if not _stale(lock)]
    return ", ".join(locks) or None


def _locks(folder: str) -> list[str]:
    with saying(ObserveError, folder):
        try:
            names = os.listdir(folder) if os.path.isdir(folder) else []
        except FileNotFoundError:
            return []
    locks = (name for name in sorted(names) if name.startswith("M") and name.endswith(".lck"))
    return [os.path.join(folder, name) for name in locks]


def _stale(lock: str) -> bool:
    """Tell whether a lock is one of this host's whose process is gone."""
    try:
        with open(lock, "rb") as file:
            said = TEXT.fullmatch(file.read(SIZE).rstrip(b"\0"))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if said is None or _runs(int(said["process"]), int(said["began"] or said["older"])):
        return False
    return said["host"] in _this_host()


def _runs(process: int, began: int) -> bool:
    """Tell whether a process runs; another that has its number now began at another time."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    with suppress(OSError, ValueError, IndexError):
        said = Path(f"/proc/{process}/stat").read_bytes()
        now = int(said.rpartition(b")")[2].split()[19])
        return began in (0, now)
    return True


def _this_host() -> Iterator[bytes]:
    """Yield what VMware calls a Linux host: by its name as it is, and as it is resolved."""
    name = os.uname().nodename
    card = _card()
    yield _identity(name, card)
    with suppress(OSError):
        yield _identity(socket.gethostbyname_ex(name)[0], card)


def _identity(name: str, card: bytes) -> bytes:
    number = 5381
    for byte in os.fsencode(name):
        number = (number * 33 + byte) % 2**32
    return base64.b64encode(number.to_bytes(4, "little") + card).replace(b"/", b"-")


def _card() -> bytes:
    """Return the address of the first of ``eth0`` to ``eth7``; zeros where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for number in CARDS:
            with suppress(OSError):
                told = fcntl.ioctl(asked, SIOCGIFHWADDR, struct.pack("40s", b"eth%d" % number))
                return told[ADDRESS].ljust(8, b"\0")
    return bytes(8)
