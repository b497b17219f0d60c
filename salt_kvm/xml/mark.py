"""The mark of what this pack has made: an element of its own in the object's metadata.

It is a part of the document that a new object starts from and of nothing that is declared, so it is
never compared: who takes it out has taken the object out of this pack's hands.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from salt_kvm.seen import Observed
from salt_kvm.xml.document import parse
from salt_kvm.xml.intent import element

NAMESPACE = "urn:salt-kvm:managed"
MANAGED = f"{{{NAMESPACE}}}managed"
ET.register_namespace("salt-kvm", NAMESPACE)


def mark() -> ET.Element:
    """Return the metadata of a new object."""
    return element("metadata", None, element(MANAGED))


def marked(seen: Observed) -> bool:
    """Tell whether an object is marked: its definition and, while it runs, its live document.

    A tool may have taken the mark out of one of them only.
    """
    return all(
        NAMESPACE in text and parse(text).find(f"metadata/{MANAGED}") is not None
        for text in seen.documents
    )
