"""A secret as partial libvirt XML. Elements: https://libvirt.org/formatsecret.html"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from salt_kvm.spec.image import Encryption
from salt_kvm.spec.secret import USAGES, StoredSecret
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import ABSENT, Intent, element
from salt_kvm.xml.rows import Said, Tables, fill, rows


def _passphrase(secret: str) -> Said:
    """A path is the usage of a secret, anything else is its UUID."""
    by, other = ("usage", "uuid") if secret.startswith("/") else ("uuid", "usage")
    return {"type": "passphrase", by: secret, other: ABSENT}


# What a disk or a volume is encrypted with.
ENCRYPTION: Tables = {
    Encryption: rows(("secret", "@format", lambda _: "luks"), ("secret", "secret", _passphrase))
}

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
    usage = parse(text).find("usage")
    if usage is None or usage.get("type") not in USAGES:
        return None
    return f"{usage.get('type')}/{usage.findtext(USAGES[str(usage.get('type'))])}"


def uuid(text: str) -> str | None:
    """Return the UUID of a document."""
    return parse(text).findtext("uuid")


def passphrase(encryption: Encryption) -> str:
    """Return the UUID, or the ``usage/id``, of the secret that an image is encrypted with."""
    secret = encryption.secret
    return f"volume/{secret}" if secret.startswith("/") else secret


def named(root: ET.Element) -> Iterator[str]:
    """Yield each secret that a document names: its UUID, or its ``usage/id``.

    What a passphrase is known by is the usage of a volume's; the type of what logs in may stand one
    element above.
    """
    for parent in root.iter():
        for secret in parent.findall("secret"):
            kind = secret.get("type") or parent.get("type") or ""
            usage = {"passphrase": "volume", "chap": "iscsi"}.get(kind, kind)
            if secret.get("uuid") or secret.get("usage"):
                yield secret.get("uuid") or f"{usage}/{secret.get('usage')}"
        if parent.tag == "encryption" and parent.get("secret"):
            yield parent.attrib["secret"]


def private(text: str) -> bool:
    """Tell whether libvirt tells nobody the value."""
    return parse(text).get("private") == "yes"


def ephemeral(text: str) -> bool:
    """Tell whether the secret is gone with the daemon."""
    return parse(text).get("ephemeral") == "yes"
