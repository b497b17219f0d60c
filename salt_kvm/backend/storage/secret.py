"""Secrets that libvirt keeps; a secret's full name is ``usage/id``, as in ``ceph/client.libvirt``.

libvirt tells the value of a secret that is not private. Of one that is, a salted hash is kept here,
for root only, so that a value that is declared anew is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path

from salt_kvm.backend.system.files import write
from salt_kvm.backend.system.opening import opened
from salt_kvm.backend.system.saying import saying
from salt_kvm.backend.virt import secret_calls
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, ObserveError, SpecError, UnmetError
from salt_kvm.seen import Hidden, Observed
from salt_kvm.spec.secret import StoredSecret, decoded
from salt_kvm.xml import secret as xml

FOLDER = "/var/lib/salt-kvm/secrets"
# scrypt's cost: some 50 ms and 16 MiB.
COST = {"n": 2**14, "r": 8, "p": 1}


def read(hypervisor: Hypervisor, name: str) -> Observed | None:
    """Return a secret without its value; ``None`` where there is none."""
    usage, _, identity = name.partition("/")
    found = secret_calls.read(hypervisor, usage, identity)
    return None if found is None else Observed("secret", name, found)


def read_all(hypervisor: Hypervisor) -> list[str]:
    """Return the documents of all secrets."""
    return secret_calls.read_all(hypervisor)


def value(hypervisor: Hypervisor, name: str) -> Hidden | None:
    """Return the value of a secret; ``None`` where it has none, or is private."""
    usage, _, identity = name.partition("/")
    found = secret_calls.value(hypervisor, usage, identity)
    return None if found is None else Hidden(found)


def declared(want: StoredSecret) -> Hidden | None:
    """Return the declared value, in libvirt's bytes.

    :raises UnmetError: when its file can't be read
    """
    if want.value is not None:
        return Hidden(decoded(want.value.encode(), want.encoding))
    if want.value_file is None:
        return None
    try:
        with opened(want.value_file) as file:
            data = file.read()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UnmetError(
            f"{want.value_file} can't be read: {reason}; correct value_file"
        ) from error
    try:
        # An editor ends a file with a line feed, which is no part of a password.
        return Hidden(decoded(data.removesuffix(b"\n"), want.encoding))
    except ValueError as error:
        raise SpecError([f"{want.value_file}: {error}"]) from None


def has(hypervisor: Hypervisor, there: Observed, wanted: Hidden) -> bool | None:
    """Tell whether a secret has a value; ``None`` where nothing is known of its value."""
    if xml.private(there.xml):
        return _remembered(str(xml.uuid(there.xml)), wanted)
    found = value(hypervisor, there.name)
    return None if found is None else hmac.compare_digest(found, wanted)


def passphrase(hypervisor: Hypervisor, name: str | None) -> Hidden | None:
    """Return what an encrypted disk is opened with; ``None`` for one that is not encrypted."""
    return None if name is None else Hidden(secret_calls.passphrase(hypervisor, name))


def define(hypervisor: Hypervisor, document: str) -> None:
    """Write the definition of a secret; its value stays."""
    secret_calls.define(hypervisor, document)


def set_value(hypervisor: Hypervisor, name: str, wanted: Hidden) -> None:
    """Set the value of a secret."""
    usage, _, identity = name.partition("/")
    secret_calls.set_value(hypervisor, usage, identity, bytes(wanted))
    there = read(hypervisor, name)
    if there is not None:
        uuid = str(xml.uuid(there.xml))
        # One that is ephemeral is gone with the daemon, and what is defined anew is set anew.
        _remember(uuid, wanted) if xml.private(there.xml) else _forget(uuid)


def undefine(hypervisor: Hypervisor, name: str) -> None:
    """Remove a secret and its value."""
    there = read(hypervisor, name)
    usage, _, identity = name.partition("/")
    secret_calls.undefine(hypervisor, usage, identity)
    if there is not None:
        _forget(str(xml.uuid(there.xml)))


def restore(hypervisor: Hypervisor, seen: Observed, old: Hidden) -> None:
    """Bring back a secret that was removed."""
    define(hypervisor, seen.xml)
    set_value(hypervisor, seen.name, old)


def _remembered(uuid: str, wanted: Hidden) -> bool | None:
    try:
        with saying(ObserveError, FOLDER):
            kept = json.loads((Path(FOLDER) / uuid).read_text())
    except ObserveError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    return hmac.compare_digest(bytes.fromhex(kept["hash"]), _hash(wanted, kept["salt"]))


def _remember(uuid: str, wanted: Hidden) -> None:
    salt = os.urandom(16).hex()
    kept = json.dumps({"salt": salt, "hash": _hash(wanted, salt).hex()})
    write(f"{FOLDER}/{uuid}", kept.encode(), mode=0o600)
    with saying(ApplyError, FOLDER):
        os.chmod(FOLDER, 0o700)


def _hash(wanted: Hidden, salt: str) -> bytes:
    return hashlib.scrypt(wanted, salt=bytes.fromhex(salt), **COST)


def _forget(uuid: str) -> None:
    with saying(ApplyError, FOLDER):
        (Path(FOLDER) / uuid).unlink(missing_ok=True)
