"""Whom SASL lets in to libvirt, in the database that libvirt's daemon reads.

That is what ``sasldb_path`` of ``/etc/sasl2/libvirt.conf`` names. Passwords are asked for by the
library that the daemon asks, in a process of its own: what it has read once, it never reads again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from salt_kvm.backend.system.command import ask
from salt_kvm.errors import ApplyError, ObserveError, UnmetError
from salt_kvm.plan.sasl import SaslSeen
from salt_kvm.seen import Hidden

APPLICATION = "libvirt"
TOOL = "saslpasswd2"
SECONDS = 30
CHECKER = Path(__file__).with_name("sasl_check.py")
# sasl.h of Cyrus SASL; the last is this pack's own: the library is not there.
OK, NO_MECHANISM, WRONG, NO_USER, NO_LIBRARY = 0, -4, -13, -20, 1


def look(name: str, password: Hidden | None) -> SaslSeen:
    """Return whether a user is there, and has this password."""
    found = _check(name, password or b"")
    if found in (NO_LIBRARY, NO_MECHANISM):
        raise UnmetError("SASL's library or its database is not installed; apply kvm.remote")
    if found not in (OK, WRONG, NO_USER):
        raise ObserveError(f"SASL can't say whether there is a user {name} (its error {found})")
    return SaslSeen(there=found != NO_USER, same=password is not None and found == OK)


def _check(name: str, password: bytes) -> int:
    answer = ask(
        [sys.executable, "-I", "-S", str(CHECKER), APPLICATION, name], password, timeout=SECONDS
    )
    if answer.code != 0:
        raise ObserveError(f"SASL can't be asked for the user {name}: {answer.complaint[-200:]}")
    return int(answer.output)


def set_password(name: str, password: Hidden) -> None:
    """Let a user log in with a password."""
    _run(["-p", "-c"], name, bytes(password))


def remove(name: str) -> None:
    """Let a user log in no more."""
    _run(["-d"], name)


def _run(options: list[str], name: str, given: bytes = b"") -> None:
    answer = ask([TOOL, *options, "-a", APPLICATION, name], given, timeout=SECONDS)
    if answer.code != 0:
        said = answer.complaint.splitlines()
        raise ApplyError(f"{TOOL} of {name}: {said[0] if said else 'failed; see the system log'}")
