"""The steps of a user whom SASL lets in. No step tells a password, nor does any change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from salt_kvm.errors import SpecError
from salt_kvm.plan.host_steps import RemoveSaslUser, SetSaslUser
from salt_kvm.plan.steps import Need, Step, change
from salt_kvm.seen import Hidden
from salt_kvm.spec.host import SaslUser
from salt_kvm.xml.merge import HIDDEN

TOOL = Need("program", "saslpasswd2", "declare kvm:host:sasl, whose state installs it")


class SaslSeen(msgspec.Struct, frozen=True):
    """Whether the user is there, and has the declared password."""

    there: bool
    same: bool


def plan(name: str, want: SaslUser, seen: SaslSeen) -> Iterator[Step]:
    """Yield what makes the user as declared."""
    if want.state == "sasl_user_absent":
        if seen.there:
            changes = {"user": change("present", None)}
            yield RemoveSaslUser(name=name, changes=changes, needs=(TOOL,))
        return
    if want.password is None:
        if not seen.there:
            raise SpecError([f"kvm:host:sasl:users:{name}: there is no such user; add a password"])
        return
    if seen.there and seen.same:
        return
    told = {"password": change(HIDDEN, HIDDEN)} if seen.there else {"user": change(None, "present")}
    password = Hidden(want.password.encode())
    yield SetSaslUser(name=name, password=password, new=not seen.there, changes=told, needs=(TOOL,))
