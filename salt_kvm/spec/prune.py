"""What becomes of the domains that are not declared."""

from typing import Literal

from salt_kvm.spec.domain import Seconds
from salt_kvm.spec.types import Name, Spec


class PruneDomains(Spec, frozen=True, kw_only=True):
    """How: what the others become, and whether there may be nothing but others."""

    others: Literal["absent", "stopped"] = "absent"
    disks: Literal["delete"] | None = None
    timeout: Seconds | None = None
    force: bool | None = None
    allow_empty: bool = False

    def __post_init__(self) -> None:
        if self.disks is not None and self.others != "absent":
            raise ValueError("'disks: delete' goes with 'others: absent' only")


class Prune(Spec, frozen=True, kw_only=True):
    """``kvm:prune``; without it nothing that is undeclared is touched."""

    domains: bool | PruneDomains | None = None


class Only(PruneDomains, frozen=True, kw_only=True):
    """The domains that stay as they are: all others that this pack has made are pruned."""

    state: Literal["only"] = "only"
    domains: list[Name]
