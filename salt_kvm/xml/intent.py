"""Partial libvirt XML: what the user said and nothing else.

An intent is a libvirt document in which everything undeclared is missing. Two things plain XML
can't say are said beside it: which lists are declared in full (``Intent.lists``), and what must
not be there (the marker :data:`ABSENT`, as an attribute of an element or as an attribute's value).
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

import msgspec

from salt_kvm.errors import SpecError
from salt_kvm.xml.equality import canonical

ABSENT = "{urn:salt-kvm:intent}absent"
# The attributes of an element that must not be there.
GONE = {ABSENT: "yes"}

# libvirt's driver namespaces, so that a fragment's own prefix survives being written back.
for _prefix in ("qemu", "xen", "lxc"):
    ET.register_namespace(_prefix, f"http://libvirt.org/schemas/domain/{_prefix}/1.0")
FS = "{http://libvirt.org/schemas/storagepool/fs/1.0}"
RBD = "{http://libvirt.org/schemas/storagepool/rbd/1.0}"
for _prefix, _space in {"fs": FS, "rbd": RBD}.items():
    ET.register_namespace(_prefix, _space.strip("{}"))

Attributes = Mapping[str, object]


class Intent(msgspec.Struct, frozen=True):
    """A partial document, and the names (rows of ``identity.LISTS``) of the lists it owns."""

    xml: ET.Element
    lists: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Bring what is declared into the spelling that is compared."""
        canonical(self.xml)


def element(
    tag: str,
    attributes: Attributes | None = None,
    *children: ET.Element | None,
    text: object = None,
) -> ET.Element:
    """Build an element; attributes and children that are ``None`` are left out."""
    made = ET.Element(tag, {k: str(v) for k, v in (attributes or {}).items() if v is not None})
    made.text = None if text is None else str(text)
    made.extend(child for child in children if child is not None)
    return made


def parse_fragment(text: str, tag: str, path: str) -> ET.Element:
    """Parse the ``xml:`` field of a spec: a whole ``<tag>`` document or what stands inside one.

    :raises SpecError: when it is no XML, brings a DTD, or would rename the object
    """
    if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):
        raise SpecError([f"{path}:xml: a document type declaration is not accepted; remove it"])
    whole = text.lstrip().startswith((f"<{tag}>", f"<{tag} ", f"<{tag}\n"))
    try:
        root = ET.fromstring(text if whole else f"<{tag}>{text}</{tag}>")
    # Half a surrogate pair is a ValueError.
    except (ET.ParseError, ValueError) as error:
        raise SpecError([f"{path}:xml: not well-formed XML: {error}"]) from error
    try:
        canonical(root)
    except ValueError as error:
        raise SpecError([f"{path}:xml: {error}"]) from error
    for fixed in ("name", "uuid"):
        if root.find(fixed) is not None:
            raise SpecError([f"{path}:xml: <{fixed}> can't be declared here; remove it"])
    return root
