"""The ``kvm`` grain: what this host can do as a hypervisor. Forks nothing, connects to nothing."""

from typing import Any

import salt_kvm
from salt_kvm.backend.hosts import host as _host


def kvm() -> dict[str, Any]:
    """Return the ``kvm`` grain.

    ``cpu_virtualisation`` (``vmx``, ``svm``, ``none``), ``dev_kvm`` (guests of type ``kvm`` can
    run), ``nested`` (true, false, null: not known), ``hypervisor`` (what this host is a guest of;
    null on bare metal), ``daemons`` (``monolithic``, ``modular``; null: not decided yet) and
    ``versions`` of ``qemu``, ``libvirt`` (null: not installed, or not known without asking it)
    and this ``pack``.
    """
    return {
        "kvm": {
            "cpu_virtualisation": _host.cpu_virtualisation(),
            "dev_kvm": _host.kvm_usable(),
            "nested": _host.nested(),
            "hypervisor": _host.hypervisor(),
            "daemons": _host.daemons(),
            "versions": {
                "qemu": _host.qemu_version(),
                "libvirt": _host.libvirt_version(),
                "pack": salt_kvm.__version__,
            },
        }
    }
