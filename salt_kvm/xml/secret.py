"""A secret as partial libvirt XML. Elements: https://libvirt.org/formatsecret.html"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from salt_kvm.spec.secret import USAGES, StoredSecret
from salt_kvm.xml.intent import Intent, element
from salt_kvm.xml.rows import Tables, fill, rows

TABLES: Tables = {
    StoredSecret: rows(
        ("ephemeral", "@ephemeral"),
        ("private", "@private"),
        ("uuid", "uuid"),
        ("description", "description"),
    )
}


def intent(want: StoredSecret) -> Intent:
    """Render what ``want`` declares, but for its value, which stands in no document."""
    return Intent(fill(element("secret"), want, TABLES, "", set()))


def blank(name: str) -> ET.Element:
    """Return the document that a new secret starts from.

    :param name: ``usage/id``
    """
    usage, _, identity = name.partition("/")
    known = element(USAGES[usage], text=identity)
    attributes = {"ephemeral": "no", "private": "no"}
    return element("secret", attributes, element("usage", {"type": usage}, known))


def name(text: str) -> str | None:
    """Return ``usage/id`` of a document; ``None`` for a secret that has only its UUID."""
    usage = ET.fromstring(text).find("usage")
    if usage is None or usage.get("type") not in USAGES:
        return None
    return f"{usage.get('type')}/{usage.findtext(USAGES[str(usage.get('type'))])}"


def uuid(text: str) -> str | None:
    """Return the UUID of a document."""
    return ET.fromstring(text).findtext("uuid")


def private(text: str) -> bool:
    """Tell whether libvirt tells nobody the value."""
    return ET.fromstring(text).get("private") == "yes"


def ephemeral(text: str) -> bool:
    """Tell whether the secret is gone with the daemon."""
    return ET.fromstring(text).get("ephemeral") == "yes"
