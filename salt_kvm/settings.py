"""The states of this pack that the SLS files of the host make of ``kvm:host``, in their order.

The files are ``config``, ``remote`` and ``kernel``: who changes one of them changes this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Fields = dict[str, Any]
# The keys of kvm_host.kernel.
TOLD = ("hugepages", "ksm", "transparent_hugepages", "bridge_netfilter")


def of(host: Fields, system: Callable[[], Fields]) -> Iterator[tuple[str, str, Fields]]:
    """Yield noun, name and fields of each state of the host.

    :param host: ``kvm:host``, as plain data
    :param system: returns what a host of this distribution gets; called where that matters
    """
    yield from _files(host, system)
    yield from _sasl(host.get("sasl") or {}, system)
    yield from _kernel(host, system)


def _files(host: Fields, system: Callable[[], Fields]) -> Iterator[tuple[str, str, Fields]]:
    told = (host.get("guests") or {}).items()
    guests = {key.upper(): value for key, value in told if value is not None}
    sections = {"config": host.get("config"), "guests": guests and {"libvirt-guests": guests}}
    for name, files in sections.items():
        if files:
            path = system().get("guests_file") if "libvirt-guests" in files else None
            paths = {"paths": {"libvirt-guests": path}} if path else {}
            yield "config", f"kvm:host:{name}", {"files": files, **paths}


def _sasl(sasl: Fields, system: Callable[[], Fields]) -> Iterator[tuple[str, str, Fields]]:
    for user, password in (sasl.get("users") or {}).items():
        state = "sasl_user_absent" if password is None else "sasl_user"
        yield "sasl_user", user, {"state": state, "password": password}
    if sasl:
        remote = system().get("remote", {}).get(system().get("daemons"), {})
        file = remote.get("file", "libvirtd.conf")
        yield "config", "kvm:host:sasl", {"files": {file: {"auth_tls": "sasl"}}}


def _kernel(host: Fields, system: Callable[[], Fields]) -> Iterator[tuple[str, str, Fields]]:
    if isinstance(host.get("nested"), bool):
        yield "nested", "kvm:host:nested", {"enabled": host["nested"]}
    told = {key: host[key] for key in TOLD if host.get(key) is not None}
    if told:
        yield "kernel", "kvm:host", told
    arguments, iommu = host.get("kernel_arguments") or [], host.get("iommu") or False
    if arguments or iommu:
        fields = {"arguments": arguments, "iommu": iommu, **system().get("boot_loader", {})}
        yield "kernel_arguments", "kvm:host:kernel_arguments", fields
