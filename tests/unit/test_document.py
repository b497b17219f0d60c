"""What libvirt keeps and no parser of XML takes is told, with the object and the cure."""

import pytest

from salt_kvm.errors import ObserveError
from salt_kvm.xml.document import parse

BROKEN = [
    (
        "<domain type='kvm'><name>web1</name><metadata><a:b/></metadata></domain>",
        "libvirt's document of the domain web1 can't be read: unbound prefix: line 1, column 46; "
        "correct it with virsh edit web1; what runs has it after its next start",
    ),
    ("<network><name>n</name><a:b/></network>", "correct it with virsh net-edit n; "),
    ("<pool type='dir'><name>p</name><a:b/></pool>", "correct it with virsh pool-edit p; "),
    ("<capabilities><host", "libvirt's document of the capabilities can't be read: "),
    ("", "libvirt's document of the object can't be read: "),
]


@pytest.mark.parametrize(("text", "told"), BROKEN, ids=[row[0][:10] for row in BROKEN])
def test_what_can_not_be_read_is_told(text, told):
    with pytest.raises(ObserveError) as raised:
        parse(text)
    assert told in str(raised.value)
