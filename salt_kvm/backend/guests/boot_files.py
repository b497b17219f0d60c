"""What an installer is started with: its kernel, its initrd and its answers, in a folder.

The folder is made whole and is gone when the installation is done. Answers hold passwords: a file
with them is root's alone, until libvirt gives it to QEMU for as long as that runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import quote

from salt_kvm import cpio
from salt_kvm.backend.client import Client
from salt_kvm.backend.guests import iso
from salt_kvm.backend.storage.store import Store
from salt_kvm.backend.system import folders
from salt_kvm.backend.system.files import anew
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, KvmError, UnmetError
from salt_kvm.plan.steps import Source
from salt_kvm.spec.image import shown_address
from salt_kvm.spec.install import ANSWERS, LAYOUTS, Install
from salt_kvm.xml.install import Media

FOLDER = "/var/lib/salt-kvm/boot"
# A link to the ISO that was fetched.
CD = "installer.iso"
KERNEL, INITRD, ANSWER = "kernel", "initrd", "answers.iso"
CLOUD_CONFIG = b"#cloud-config\n"


def folder(name: str) -> str:
    """Return where the boot files of a domain are."""
    return f"{FOLDER}/{quote(name, safe='')}"


def media(name: str, install: Install, cdrom: str | None) -> Media:
    """Return what the installer of a domain is started with, once it is written."""
    there = folder(name)
    location = install.location
    volume = install.answer is not None and install.way == "volume"
    return Media(
        kernel=f"{there}/{KERNEL}" if location is not None else None,
        initrd=f"{there}/{INITRD}" if location is not None else None,
        arguments=install.arguments,
        cdrom=cdrom if location is None else _drive(install, f"{there}/{CD}"),
        answers=f"{there}/{ANSWER}" if volume else None,
    )


def _drive(install: Install, link: str) -> str | None:
    if install.fetched:
        return os.path.realpath(link)
    location = install.location or ""
    return location if location.startswith("/") and not os.path.isdir(location) else None


def write(name: str, install: Install, client: Client) -> None:
    """Write the boot files of a domain, in place of those that are there."""
    there = folder(name)
    answers = _answers(install, client)
    remove(name)
    with saying(ApplyError, there):
        folders.make(FOLDER, 0o711)
    try:
        with anew(there, over=True) as made:
            folders.make(made, 0o711)
            _fill(made, install, answers, client)
    except BaseException:
        # It may have its name already, and is not flushed.
        with suppress(KvmError):
            remove(name)
        raise


def _fill(made: str, install: Install, answers: Mapping[str, bytes], client: Client) -> None:
    location: str | None = install.location
    if install.fetched:
        location = Store(client).bring(Source(str(location), install.location_hash)).image
        os.symlink(location, f"{made}/{CD}")
    if location is not None:
        kernel, initrd = find(location, _parts(install), client)
        _copy(location, kernel, f"{made}/{KERNEL}", client)
        _copy(location, initrd, f"{made}/{INITRD}", client)
    if install.way == "initrd" and answers:
        _append(f"{made}/{INITRD}", cpio.archive(answers))
    elif answers:
        label = ANSWERS[install.answer or ""].label
        _write(f"{made}/{ANSWER}", iso.build(label, answers))


def remove(name: str) -> None:
    """Remove the boot files of a domain, where there are any."""
    with saying(ApplyError, folder(name)), suppress(FileNotFoundError):
        shutil.rmtree(folder(name))


def find(location: str, parts: tuple[str, ...], client: Client) -> tuple[str, str]:
    """Return the kernel and the initrd of an installer, as paths in its tree or ISO.

    :param parts: the two that are declared; else the known ones are looked for
    :raises UnmetError: where they are not there; those that are declared of a tree elsewhere are
        not looked for, as not every server tells of a file without giving it
    """
    if parts and not location.startswith("/"):
        return parts[0], parts[1]
    pairs = [parts] if parts else [(each.kernel, each.initrd) for each in LAYOUTS]
    has = _looker(location, [path for pair in pairs for path in pair], client)
    for pair in pairs:
        if all(has(path) for path in pair):
            return pair[0], pair[1]
    if parts:
        missing = next(path for path in parts if not has(path))
        raise UnmetError(f"there is no {missing} in {location}")
    where = shown_address(location)
    raise UnmetError(
        f"{where} holds no installer that is known here; declare its 'kernel' and 'initrd'"
    )


def _parts(install: Install) -> tuple[str, ...]:
    return (install.kernel, install.initrd) if install.kernel and install.initrd else ()


def _looker(location: str, paths: list[str], client: Client) -> Callable[[str], bool]:
    if not location.startswith("/"):
        return lambda path: _served(f"{location}/{path}", client)
    if os.path.isdir(location):
        return lambda path: os.path.isfile(f"{location}/{path}")
    return iso.files(location, paths).__contains__


def _served(address: str, client: Client) -> bool:
    return client.published(address) is not None or client.length(address) is not None


def _copy(location: str, path: str, target: str, client: Client) -> None:
    with saying(ApplyError, target):
        if not location.startswith("/"):
            with Store(client).fetched(f"{location}/{path}") as found:
                shutil.copyfile(found, target)
        elif os.path.isdir(location):
            shutil.copyfile(f"{location}/{path}", target)
        else:
            with open(target, "wb") as file:
                iso.extract(location, path, file)
        os.chmod(target, 0o600)
    _sync(target)


def _append(initrd: str, archive: bytes) -> None:
    with saying(ApplyError, initrd), open(initrd, "ab") as file:
        file.write(cpio.padding(file.tell()) + archive)
    _sync(initrd)


def _write(path: str, data: bytes) -> None:
    with saying(ApplyError, path), open(path, "xb", opener=_private) as file:
        file.write(data)
    _sync(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(path: str) -> None:
    with saying(ApplyError, path), open(path, "rb") as file:
        os.fsync(file.fileno())


def _answers(install: Install, client: Client) -> Mapping[str, bytes]:
    """Return the files that the installer is to read."""
    if install.answer is None:
        return {}
    known = ANSWERS[install.answer]
    text = getattr(install, install.answer).encode().decode()
    data = (text if "\n" in text else client.render(text)).encode()
    if install.answer == "autoinstall" and not data.startswith(CLOUD_CONFIG.strip()):
        data = CLOUD_CONFIG + data
    return {known.file: data, **dict.fromkeys(known.beside, b"")}
