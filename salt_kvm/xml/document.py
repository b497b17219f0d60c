"""libvirt's documents: read here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from salt_kvm.errors import ObserveError

# By what a user corrects an object, by the root of its document.
EDITORS: Mapping[str, str] = {
    "domain": "virsh edit",
    "network": "virsh net-edit",
    "pool": "virsh pool-edit",
}
_ROOT = re.compile(r"<(\w+)[\s>]")
_NAME = re.compile(r"<name>([^<]*)</name>")


def parse(text: str) -> ET.Element:
    """Return the root of a document.

    libvirt takes and keeps what is no XML with namespaces: a prefix within ``metadata`` that
    nothing declares.

    :raises ObserveError: naming the object and the cure, where it can't be read
    """
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise ObserveError(f"{_which(text)} can't be read: {error}; {_cure(text)}") from error


def _tag(text: str) -> str:
    found = _ROOT.search(text)
    return "object" if found is None else found[1]


def _name(text: str) -> str:
    found = _NAME.search(text)
    return "" if found is None else found[1]


def _which(text: str) -> str:
    return f"libvirt's document of the {_tag(text)} {_name(text)}".rstrip()


def _cure(text: str) -> str:
    editor = EDITORS.get(_tag(text))
    if editor is None:
        return "correct what it is made from, or ask those who maintain libvirt here"
    return f"correct it with {editor} {_name(text)}; what runs has it after its next start"
