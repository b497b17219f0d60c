"""The keyboard of a running guest."""

from __future__ import annotations

import time
from collections.abc import Sequence

from salt_kvm.backend.virt.hypervisor import Hypervisor


def press(
    hypervisor: Hypervisor,
    name: str,
    combinations: Sequence[Sequence[int]],
    codeset: str,
    hold: int,
) -> None:
    """Press keys, one combination after another; those of one are down at the same time.

    :param hold: how long each key is held, in milliseconds
    """
    table = hypervisor.flag(f"VIR_KEYCODE_SET_{codeset.upper()}")
    for codes in combinations:
        keys = list(codes)
        hypervisor.call(
            "domain", name, "sending keys to", "sendKey", table, hold, keys, len(keys), 0
        )
        # QEMU only queues them, each going down and coming up, and drops what its queue can't hold.
        time.sleep(2 * len(keys) * hold / 1000)
