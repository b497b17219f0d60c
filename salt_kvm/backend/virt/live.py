"""Changes of a running guest that leave its definition alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from salt_kvm.backend.virt.hypervisor import FAILURES, REFUSALS, Hypervisor
from salt_kvm.errors import ApplyError, KvmError, ObserveError, RefusedError
from salt_kvm.plan.steps import SetProperty
from salt_kvm.spec.values import members
from salt_kvm.xml.live import plugged
from salt_kvm.xml.properties import GONE, PROPERTIES, property_in, without_namespace

# How long a guest gets to release a device or to give memory back: PCI Express alone waits for
# five seconds whether its attention button is pressed again, and a busy host adds to that.
SECONDS = 30.0
POLL_SECONDS = 0.25


def attach(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Plug a device in."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    hypervisor.call("domain", name, "attaching a device to", "attachDeviceFlags", xml, live)


def update(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Change a device in place."""
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    hypervisor.call("domain", name, "changing a device of", "updateDeviceFlags", xml, live)


def detach(hypervisor: Hypervisor, name: str, xml: str) -> bool:
    """Ask the guest to release a device and wait; tell whether it is gone.

    A guest that is starting up does not hear it, so it is asked until the time is over. A refusal
    counts at the end only: it is one that the guest is at it since an earlier run, or just did it.
    """
    live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")
    end = time.monotonic() + SECONDS
    while True:
        refusal = None
        try:
            doing = "detaching a device from"
            hypervisor.call("domain", name, doing, "detachDeviceFlags", xml, live)
        except RefusedError:
            raise
        except KvmError as error:
            refusal = error
        if is_gone(hypervisor, name, xml):
            return True
        if time.monotonic() >= end:
            break
        time.sleep(POLL_SECONDS)
    if refusal is not None:
        raise refusal
    return False


def is_gone(hypervisor: Hypervisor, name: str, xml: str) -> bool:
    """Tell whether a device is gone; what can't be read now is read by who verifies."""
    with suppress(ObserveError):
        seen = hypervisor.read("domain", name)
        return seen is None or seen.live is None or plugged(seen.live, xml) is None
    return False


def attach_again(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Plug a device back in that the guest was asked to release, where it did."""
    if is_gone(hypervisor, name, xml):
        attach(hypervisor, name, xml)


def take_out(hypervisor: Hypervisor, name: str, xml: str) -> None:
    """Detach what was attached: libvirt knows it by the document that the guest has of it now."""
    seen = hypervisor.read("domain", name, autostart=False)
    device = None if seen is None or seen.live is None else plugged(seen.live, xml)
    if device is not None:
        detach(hypervisor, name, device)


def resize(hypervisor: Hypervisor, name: str, target: str, size: int) -> None:
    """Grow a disk; the guest's kernel is told of it."""
    exact = hypervisor.flag("VIR_DOMAIN_BLOCK_RESIZE_BYTES")
    doing = f"growing the disk {target} of"
    hypervisor.call("domain", name, doing, "blockResize", target, int(size), exact)


def balloon(hypervisor: Hypervisor, name: str) -> bool:
    """Tell whether the guest's balloon driver answers: only then it says what is unused."""
    stats = hypervisor.call("domain", name, "reading the memory of", "memoryStats")
    return "unused" in stats


# The calls that read and set parameters, by the property.
PARAMETERS = {
    "cputune": ("schedulerParametersFlags", "setSchedulerParametersFlags"),
    "memtune": ("memoryParameters", "setMemoryParameters"),
    "blkiotune": ("blkioParameters", "setBlkioParameters"),
    "numatune": ("numaParameters", "setNumaParameters"),
    "iotune": ("blockIoTune", "setBlockIoTune"),
}
TEXTS = ("group_name", "numa_nodeset")
Set = Callable[["_Domain", str, Mapping[str, str]], None]


class _Domain:
    """A running guest, to call libvirt for it."""

    def __init__(self, hypervisor: Hypervisor, name: str, key: str) -> None:
        self.hypervisor, self.name, self.key = hypervisor, name, key
        self.live = hypervisor.flag("VIR_DOMAIN_AFFECT_LIVE")

    def call(self, method: str, *arguments: object) -> Any:
        doing = f"setting the {self.key} of"
        anew = PROPERTIES[self.key].start == "anew"
        refusals = (*REFUSALS, *FAILURES) if anew else REFUSALS
        given = (*arguments, self.live)
        return self.hypervisor.call("domain", self.name, doing, method, *given, refusals=refusals)

    def wait(self, value: str) -> None:
        """The guest itself takes memory and CPUs, in its own time."""

        def there(document: str) -> bool:
            return property_in(document, self.key)[""] == value

        _wait(self.hypervisor, self.name, there)


def set_property(hypervisor: Hypervisor, step: SetProperty, document: str) -> Callable[[], None]:
    """Set a property; return what sets it back.

    :param document: of the guest, before
    """
    domain = _Domain(hypervisor, step.name, step.key)
    old = _before(domain, step, document)
    take_back = partial(SETTERS[step.key], domain, step.target, old)
    try:
        SETTERS[step.key](domain, step.target, step.values)
    except KvmError as error:
        # Of several calls the first ones may have been made.
        with suppress(KvmError):
            take_back()
        if isinstance(error, RefusedError) and not hypervisor.active("domain", step.name):
            raise ApplyError(f"{error}; the guest has gone down") from error
        raise
    return take_back


def _before(domain: _Domain, step: SetProperty, document: str) -> dict[str, str]:
    """What the document does not say has a value too: libvirt's or the host's default."""
    row, known = PROPERTIES[step.key], property_in(document, step.key, step.target)
    if row.whole:
        return known
    missing = [name for name in step.values if name not in known]
    defaults = dict.fromkeys(missing, row.gone or "")
    if missing and step.key in DEFAULTS:
        defaults |= DEFAULTS[step.key](domain, missing)
    return {name: {**defaults, **known}[name] for name in step.values}


def _parameters(domain: _Domain, names: list[str]) -> dict[str, str]:
    there = domain.call(PARAMETERS[domain.key][0])
    return {name: str(there[name]) for name in names if there.get(name) is not None}


def _pins(domain: _Domain, names: list[str]) -> dict[str, str]:
    """The host's CPUs that each of the guest's runs on now."""
    if domain.key == "emulatorpin":
        return {"": _cpuset(domain.call("emulatorPinInfo"))}
    if domain.key == "vcpupin":
        found = enumerate(domain.call("vcpuPinInfo"))
    else:
        found = domain.call("ioThreadInfo")
    return {str(number): _cpuset(cpus) for number, cpus in found}


def _cpuset(cpus: list[bool]) -> str:
    return ",".join(str(number) for number, there in enumerate(cpus) if there)


def _set_parameters(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
    """The limits of the host's block devices are given as ``/dev/sda,100,/dev/sdb,200``."""
    given: dict[str, str | int] = {}
    for name, value in values.items():
        parameter, _, device = name.partition(" ")
        if device:
            above = f"{given[parameter]}," if parameter in given else ""
            given[parameter] = f"{above}{device},{value}"
        else:
            given[name] = value if name in TEXTS else int(value)
    domain.call(PARAMETERS[domain.key][1], *([target] if target else []), given)


def _set_number(method: str) -> Set:
    def go(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
        domain.call(method, int(values[""]))
        domain.wait(values[""])

    return go


def _set_text(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
    kind = domain.hypervisor.flag(f"VIR_DOMAIN_METADATA_{domain.key.upper()}")
    domain.call("setMetadata", kind, values[""], None, None)


def _set_metadata(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
    """libvirt adds the namespace, so it wants an element that has none."""
    kind = domain.hypervisor.flag("VIR_DOMAIN_METADATA_ELEMENT")
    for namespace, text in values.items():
        element = without_namespace(text) if text else None
        domain.call("setMetadata", kind, element, "ns0", namespace)


def _set_threads(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
    for number, there in values.items():
        domain.call("delIOThread" if there == GONE else "addIOThread", int(number))


def _set_pins(method: str) -> Set:
    def go(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
        for number, cpuset in values.items():
            cpus = members(cpuset)
            chosen = tuple(cpu in cpus for cpu in range(max(cpus) + 1))
            domain.call(method, *([int(number)] if number else []), chosen)

    return go


def _set_stats(domain: _Domain, target: str, values: Mapping[str, str]) -> None:
    domain.call("setMemoryStatsPeriod", int(values[""]))


SETTERS: Mapping[str, Set] = {
    "memory": _set_number("setMemoryFlags"),
    "vcpus": _set_number("setVcpusFlags"),
    "iothreads": _set_threads,
    "title": _set_text,
    "description": _set_text,
    "metadata": _set_metadata,
    "vcpupin": _set_pins("pinVcpuFlags"),
    "emulatorpin": _set_pins("pinEmulator"),
    "iothreadpin": _set_pins("pinIOThread"),
    "stats": _set_stats,
    **dict.fromkeys(PARAMETERS, _set_parameters),
}
DEFAULTS = {
    "cputune": _parameters,
    "memtune": _parameters,
    "blkiotune": _parameters,
    "numatune": _parameters,
    "vcpupin": _pins,
    "emulatorpin": _pins,
    "iothreadpin": _pins,
}


def lacks(hypervisor: Hypervisor, name: str, key: str) -> str | None:
    """Return why the host can't set a property of a guest: it has no cgroup controller for it."""
    if key not in ("cputune", "memtune", "blkiotune"):
        return None
    try:
        _Domain(hypervisor, name, key).call(PARAMETERS[key][0])
    except RefusedError as error:
        return str(error)
    return None


def _wait(hypervisor: Hypervisor, name: str, done: Callable[[str], bool]) -> None:
    """Watch the running guest's document; what can't be read now is read by who verifies."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with suppress(ObserveError):
            seen = hypervisor.read("domain", name)
            if seen is None or seen.live is None or done(seen.live):
                return
        time.sleep(POLL_SECONDS)
