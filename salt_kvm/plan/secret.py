"""The steps of a secret. No step tells a value, nor does any change."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.errors import SpecError, UnmetError
from salt_kvm.plan import common
from salt_kvm.plan.steps import DefineSecret, Need, SetSecret, Step, UndefineSecret, change
from salt_kvm.seen import Hidden, Observed
from salt_kvm.spec.secret import StoredSecret
from salt_kvm.xml import secret as xml
from salt_kvm.xml.merge import HIDDEN, Merged, summary


class SecretSeen(msgspec.Struct, frozen=True):
    """A secret; ``name`` is its ``usage/id``.

    ``value`` is the declared one, in libvirt's bytes; ``same`` tells whether libvirt has it, or
    ``None`` where it has none, or it can't be known.
    """

    name: str
    secret: Observed | None
    value: Hidden | None = None
    same: bool | None = None


def plan(identity: str, want: StoredSecret, seen: SecretSeen) -> Iterator[Step]:
    """Yield what makes the secret as declared."""
    _check(identity, want)
    name, there = seen.name, seen.secret
    if want.state == "absent":
        if there is not None:
            changes = {"definition": change("present", None)}
            yield UndefineSecret(kind="secret", name=name, changes=changes)
        return
    merged = common.compose(there, xml.intent(want), partial(xml.blank, name))
    _keeps(name, there, merged)
    changes = common.told(merged.differences)
    if there is None:
        changes = {"definition": change(None, summary(merged.xml))}
    if changes:
        text = ET.tostring(merged.xml, encoding="unicode")
        yield DefineSecret(kind="secret", name=name, xml=text, changes=changes)
    # From here on libvirt does not tell the value, so that its hash is to be kept.
    hides = "@private" in changes
    if seen.value is not None and (hides or not seen.same):
        old = None if there is None else HIDDEN
        changes = {"value": change(old, HIDDEN)}
        yield SetSecret(kind="secret", name=name, value=seen.value, changes=changes)


def needs(document: ET.Element) -> Iterator[Need]:
    """Yield what a document needs: the secrets that it names."""
    for name in dict.fromkeys(xml.named(document)):
        yield Need("secret", name, "declare it under kvm:secrets, or correct what names it")


def _check(identity: str, want: StoredSecret) -> None:
    """libvirt's name of a volume is a path, any other has no slash."""
    where = f"kvm:secrets:{identity}"
    if want.usage is None:
        raise SpecError([f"{where}:usage: needed; write ceph, iscsi, volume, vtpm or tls"])
    if want.usage == "volume" and not identity.startswith("/"):
        raise SpecError([f"{where}: a secret of usage volume is known by the volume's path"])
    if want.usage != "volume" and "/" in identity:
        raise SpecError([f"{where}: a secret of usage {want.usage} has no slash in its name"])


def _keeps(name: str, there: Observed | None, merged: Merged) -> None:
    for difference in merged.differences if there is not None else ():
        path = difference.path
        if path == "uuid" or (path == "@private" and difference.new == "no"):
            raise UnmetError(
                f"secret {name} has {path} {difference.old!r} and {difference.new!r} is declared; "
                "libvirt never changes that: declare what it has, or remove it first"
            )
