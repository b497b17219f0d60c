"""How a size, a mode, a MAC address, a path and a name may be spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_kvm.spec import types
from salt_kvm.spec.values import pci

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GiB", 10 * GIB),
        ("10G", 10 * GIB),
        ("10 gib", 10 * GIB),
        ("10GB", 10 * 1000**3),
        ("1.5GiB", 3 * GIB // 2),
        ("512MiB", GIB // 2),
        (10737418240, 10737418240),
        ("10737418240", 10737418240),
        ("1T", 1024**4),
    ],
)
def test_size(text, size):
    assert types.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1GiB", "0", 0, "10 XiB", "1.0000000001KiB", "9999999999E", True, [], "1e3"],
)
def test_size_that_is_none(text):
    with pytest.raises(ValueError, match=r"no (possible )?size"):
        types.parse_size(text)


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_size_shown_is_the_size_read(size):
    assert types.parse_size(str(types.Size(size))) == size


@pytest.mark.parametrize(("text", "mode"), [("0640", 0o640), (640, 0o640), ("755", 0o755)])
def test_mode(text, mode):
    assert types.parse_mode(text) == mode
    assert str(types.parse_mode(text)) == f"{mode:04o}"


@pytest.mark.parametrize("text", ["0888", "rw", -1, True, ""])
def test_mode_that_is_none(text):
    with pytest.raises(ValueError, match="no mode"):
        types.parse_mode(text)


def test_mac_that_yaml_read_as_a_number():
    # 52:54:00:12:34:56 unquoted is a number of base 60 in YAML 1.1.
    number = 0
    for group in (52, 54, 0, 12, 34, 56):
        number = number * 60 + group
    assert types.parse_mac(number) == "52:54:00:12:34:56"
    assert types.parse_mac("52:54:00:AB:cd:EF") == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize("text", ["52:54:00", "52-54-00-12-34-56", "", None, "zz:54:00:12:34:56"])
def test_mac_that_is_none(text):
    with pytest.raises(ValueError, match="no MAC"):
        types.parse_mac(text)


@pytest.mark.parametrize("text", ["opt/x", "", "/opt/../etc", "/a\0b", "/a\nb", 1, None])
def test_path_that_is_none(text):
    with pytest.raises(ValueError, match="no absolute path"):
        types.parse_path(text)


def test_path_is_brought_to_one_spelling():
    assert types.parse_path("//opt//x/") == "/opt/x"
    assert types.parse_medium(False) == ""


@pytest.mark.parametrize("text", ["a/b", "", ".", "..", "a\nb", " a", True, None])
def test_name_that_is_none(text):
    with pytest.raises(ValueError, match="no name"):
        types.parse_name(text)


def test_name_of_digits():
    assert types.parse_name(12) == "12"


def test_a_pci_address_may_leave_its_domain_out():
    assert pci("06:02.1") == pci("0000:06:02.1")
    assert pci("0001:06:02.1")["domain"] == "0x0001"
