"""What is asked of qemu-img more than once."""

import pytest

from salt_kvm.backend.storage import qemu_img
from salt_kvm.errors import ApplyError

COARSE = ApplyError("qemu-img create failed: Unable to get accurate CPU usage")


def making(*failures):
    """Return what fails so, one after the other, and then no more; and what is left of them."""
    left = list(failures)

    def make():
        if left:
            raise left.pop(0)

    return make, left


def test_a_clock_that_was_too_coarse_for_luks_is_asked_again():
    make, left = making(*[COARSE] * 50)
    qemu_img.measured(make)
    assert not left


def test_a_clock_that_stays_too_coarse_is_told(monkeypatch):
    monkeypatch.setattr(qemu_img, "_MEASURING_SECONDS", 0.0)
    make, left = making(COARSE, COARSE)
    with pytest.raises(ApplyError, match="accurate CPU usage"):
        qemu_img.measured(make)
    assert left == [COARSE]


def test_what_else_fails_is_told_at_once():
    make, left = making(ApplyError("no room"), COARSE)
    with pytest.raises(ApplyError, match="no room"):
        qemu_img.measured(make)
    assert left == [COARSE]
