"""The steps of what the kernel is told: at once where it takes that, and at each boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from salt_kvm import conf
from salt_kvm.errors import ObserveError, UnmetError
from salt_kvm.plan.host_steps import SetParameter, UpdateBootLoader, WriteFile
from salt_kvm.plan.steps import Need, Step, change
from salt_kvm.spec.host import BootArguments, Kernel, Ksm
from salt_kvm.spec.types import parse_size
from salt_kvm.xml.merge import Difference

MM = "sys/kernel/mm"
BRIDGE = "proc/sys/net/bridge"
NETFILTERS = ("iptables", "ip6tables", "arptables")
HEAD = "# Written by Salt from kvm:host of the pillar.\n"
LOADER = "bootloader"
# By who made the CPU (https://docs.kernel.org/admin-guide/kernel-parameters.html); AMD's is on
# unless it is said to be off. pt: only devices that guests have are translated.
IOMMU = {"GenuineIntel": ("intel_iommu=on", "iommu=pt"), "AuthenticAMD": ("iommu=pt",)}


class KernelSeen(msgspec.Struct, frozen=True):
    """The tree of the kernel's files: ``root``, and each parameter's text, if it is there.

    ``boot`` and ``sysctl`` are the paths and texts of the files that say what each boot sets.
    """

    root: str
    values: Mapping[str, str | None]
    boot: tuple[str, str | None]
    sysctl: tuple[str, str | None]


def parameters(want: Kernel) -> dict[str, str]:
    """Return what is declared: a value for each file, relative to the root."""
    ksm = Ksm(run=want.ksm) if isinstance(want.ksm, bool) else want.ksm
    told: dict[str, object] = {}
    for size, count in (want.hugepages or {}).items():
        told[f"{MM}/hugepages/hugepages-{parse_size(size) // 1024}kB/nr_hugepages"] = count
    for name in Ksm.__struct_fields__ if ksm is not None else ():
        told[f"{MM}/ksm/{name}"] = getattr(ksm, name)
    told[f"{MM}/transparent_hugepage/enabled"] = want.transparent_hugepages
    for name in NETFILTERS:
        told[f"{BRIDGE}/bridge-nf-call-{name}"] = want.bridge_netfilter
    return {
        path: str(int(value) if isinstance(value, bool) else value)
        for path, value in told.items()
        if value is not None
    }


def plan(name: str, want: Kernel, seen: KernelSeen) -> Iterator[Step | Difference]:
    """Yield the files for each boot, then what the running kernel takes."""
    told = parameters(want)
    lines = [f"w /{path} - - - - {value}" for path, value in told.items() if path.startswith(MM)]
    yield from _file(seen.boot, lines)
    keys = {path.removeprefix("proc/sys/"): value for path, value in told.items()}
    yield from _file(
        seen.sysctl, [f"{key} = {value}" for key, value in keys.items() if key.startswith("net/")]
    )
    for path, value in told.items():
        there = seen.values[path]
        if there is None:
            _absent(f"{seen.root}{path}", path)
        elif _current(there) != value:
            yield SetParameter(
                path=f"{seen.root}{path}",
                value=value,
                changes={f"{seen.root}{path}": change(_current(there), value)},
            )


def _file(there: tuple[str, str | None], lines: Sequence[str]) -> Iterator[Step]:
    """Whoever wants none of it any more gets rid of the file."""
    path, text = there
    new = HEAD + "".join(f"{line}\n" for line in lines) if lines else None
    if new != text:
        old = None if text is None else text.removeprefix(HEAD).splitlines()
        yield WriteFile(path=path, text=new, changes={path: change(old, list(lines) or None)})


def _absent(full: str, path: str) -> None:
    """Bridges are told when their module comes; what the kernel has not can't be told."""
    if not path.startswith(BRIDGE):
        raise UnmetError(f"there is no {full}; this kernel has no such thing, so take it out")


def _current(text: str) -> str:
    """Of a choice the kernel puts the one in brackets."""
    text = text.strip()
    return text.partition("[")[2].partition("]")[0] if "[" in text else text


class ArgumentsSeen(msgspec.Struct, frozen=True):
    """What the kernel was booted with, who made the CPU, and the boot loader's file.

    ``due``: the boot loader is yet to read it.
    """

    running: str
    vendor: str
    text: str | None
    due: bool


def plan_arguments(
    name: str, want: BootArguments, seen: ArgumentsSeen
) -> Iterator[Step | Difference]:
    """Yield what gives the next boot its arguments, and what waits for that boot."""
    arguments = [*(_iommu(seen.vendor) if want.iommu else ()), *(want.arguments or ())]
    missing = [each for each in arguments if each not in seen.running.split()]
    if seen.text is not None:
        yield from _loader(want, seen.text, arguments, due=seen.due)
    elif missing:
        raise UnmetError(
            f"there is no {want.file}; give the boot loader that this host has "
            f"the arguments {' '.join(missing)}"
        )
    for each in missing:
        yield Difference("/proc/cmdline", _named(seen.running.split(), each), each)


def _iommu(vendor: str) -> Sequence[str]:
    if vendor not in IOMMU:
        raise UnmetError(
            f"what switches the IOMMU of a CPU by {vendor or 'nobody known'} on is not known here; "
            "declare it as one of kernel_arguments"
        )
    return IOMMU[vendor]


def _loader(
    want: BootArguments, text: str, arguments: Sequence[str], *, due: bool
) -> Iterator[Step]:
    try:
        old = str(conf.values(text, conf.SHELL).get(want.key, ""))
        new = " ".join(_with(old.split(), arguments))
        wanted = conf.edit(text, {want.key: new}, conf.SHELL) if new != old else text
    except conf.ConfError as error:
        raise ObserveError(f"{want.file}: {error}; correct it") from None
    if wanted != text:
        yield WriteFile(
            path=want.file,
            text=wanted,
            readers=(LOADER,),
            changes={f"{want.file}:{want.key}": change(old, new)},
            needs=(Need("file", want.file, "install GRUB"),),
        )
    if (wanted != text or due) and want.apply:
        said = " ".join(arguments)
        command = tuple(word.replace("ARGUMENTS", said) for word in want.apply)
        yield UpdateBootLoader(command=command, changes={LOADER: change("as it was", "updated")})


def _with(words: list[str], arguments: Sequence[str]) -> list[str]:
    """Give each argument the place of the only one that has its name, or the last.

    Where several have it each may count (``rd.lvm.lv=``), or the last one does.

    Those whose name is declared more than once (``console=``, ``hugepagesz=``) stay in their order,
    which has a meaning, and together.
    """
    names = [_name(each) for each in arguments]
    several = [each for each in arguments if names.count(_name(each)) > 1]
    among = {_name(each) for each in several}
    if several != [word for word in words if _name(word) in among]:
        at = next((at for at, word in enumerate(words) if _name(word) in among), len(words))
        after = [word for word in words[at:] if _name(word) not in among]
        words = [*words[:at], *several, *after]
    for each in arguments:
        if each not in words:
            old = [word for word in words if _name(word) == _name(each)]
            if len(old) == 1:
                words = [each if word == old[0] else word for word in words]
            else:
                words = [*words, each]
    return words


def _named(words: Sequence[str], argument: str) -> str | None:
    return next((word for word in words if _name(word) == _name(argument)), None)


def _name(argument: str) -> str:
    return argument.partition("=")[0]
