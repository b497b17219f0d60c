"""libvirt's calls for secrets, which are known by what they are used for or by a UUID."""

from __future__ import annotations

from typing import Any

from salt_kvm.backend.virt.hypervisor import Hypervisor, again
from salt_kvm.errors import ApplyError, NotFoundError, ObserveError

MISSING = ("VIR_ERR_NO_SECRET",)
# Of the value: there is none yet, or it is told to nobody.
UNTOLD = ("VIR_ERR_NO_SECRET", "VIR_ERR_INVALID_SECRET")


@again
def read(hypervisor: Hypervisor, usage: str, identity: str) -> str | None:
    """Return the document of a secret, which holds no value; ``None`` where there is none."""
    with hypervisor.saying(ObserveError, f"secret {usage}/{identity}"):
        found = _find(hypervisor, usage, identity)
        return None if found is None else _document(hypervisor, found)


@again
def read_all(hypervisor: Hypervisor) -> list[str]:
    """Return the documents of all secrets."""
    with hypervisor.saying(ObserveError, "the list of secrets"):
        listed = hypervisor.connection.listAllSecrets(0)
        told = [_document(hypervisor, each) for each in listed]
        return [document for document in told if document is not None]


def _document(hypervisor: Hypervisor, found: Any) -> str | None:
    """What was found may be gone by now."""
    text = hypervisor.unless(MISSING, found.XMLDesc, 0)
    return None if text is None else str(text)


@again
def there(hypervisor: Hypervisor, uuid: str) -> bool:
    """Tell whether there is a secret with this UUID."""
    with hypervisor.saying(ObserveError, f"secret {uuid}"):
        return _by_uuid(hypervisor, uuid) is not None


@again
def value(hypervisor: Hypervisor, usage: str, identity: str) -> bytes | None:
    """Return the value of a secret; ``None`` where it has none, or tells it to nobody."""
    with hypervisor.saying(ObserveError, f"the value of secret {usage}/{identity}"):
        found = _find(hypervisor, usage, identity)
        told = None if found is None else hypervisor.unless(UNTOLD, found.value, 0)
        return None if told is None else bytes(told)


@again
def passphrase(hypervisor: Hypervisor, name: str) -> bytes:
    """Return the value of a secret, which libvirt tells unless it is private.

    :param name: its UUID, or its ``usage/id``
    """
    usage, by_usage, identity = name.partition("/")
    with hypervisor.saying(ApplyError, f"reading the secret {name}"):
        found = _find(hypervisor, usage, identity) if by_usage else _by_uuid(hypervisor, name)
        if found is None:
            raise NotFoundError(f"there is no secret {name}; declare it under kvm:secrets")
        return bytes(found.value(0))


def define(hypervisor: Hypervisor, xml: str) -> None:
    """Write the definition of a secret."""
    with hypervisor.saying(ApplyError, "defining a secret"):
        hypervisor.connection.secretDefineXML(xml, 0)


def set_value(hypervisor: Hypervisor, usage: str, identity: str, wanted: bytes) -> None:
    """Set the value of a secret."""
    with hypervisor.saying(ApplyError, f"setting the value of secret {usage}/{identity}"):
        found = _find(hypervisor, usage, identity)
        if found is None:
            raise NotFoundError(f"there is no secret {usage}/{identity}; declare it first")
        found.setValue(wanted, 0)


def undefine(hypervisor: Hypervisor, usage: str, identity: str) -> None:
    """Remove a secret and its value."""
    with hypervisor.saying(ApplyError, f"removing secret {usage}/{identity}"):
        found = _find(hypervisor, usage, identity)
        if found is not None:
            found.undefine()


def _find(hypervisor: Hypervisor, usage: str, identity: str) -> Any:
    if not hypervisor.born:
        return hypervisor.find("secret", identity)
    kind = hypervisor.flag(f"VIR_SECRET_USAGE_TYPE_{usage.upper()}")
    look_up = hypervisor.connection.secretLookupByUsage
    return hypervisor.unless(MISSING, look_up, kind, identity)


def _by_uuid(hypervisor: Hypervisor, uuid: str) -> Any:
    if not hypervisor.born:
        return hypervisor.find("secret", uuid)
    return hypervisor.unless(MISSING, hypervisor.connection.secretLookupByUUIDString, uuid)
