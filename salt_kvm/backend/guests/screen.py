"""What is seen on a guest's screen, kept as a file."""

from __future__ import annotations

from salt_kvm.backend.system import files
from salt_kvm.backend.virt.domain_calls import screenshot
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import KvmError
from salt_kvm.picture import png

FOLDER = "/var/cache/salt-kvm/screenshots"


def keep(hypervisor: Hypervisor, name: str, path: str | None = None) -> str:
    """Write the screen as a PNG file, which only root reads, and return its path."""
    target = path or f"{FOLDER}/{name}.png"
    files.write(target, png(screenshot(hypervisor, name)), 0o600)
    return target


def last(hypervisor: Hypervisor, name: str) -> str:
    """Keep the screen of a guest that went wrong, and say where; nothing where it has none."""
    try:
        return f"its screen is kept as {keep(hypervisor, name)}; "
    except (KvmError, ValueError):
        return ""
