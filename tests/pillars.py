"""What a pillar's check says, without a run."""

from salt_kvm.errors import SpecError
from salt_kvm.spec.pillar import parse


def problems(section):
    """Return one sentence for each fault of a ``kvm`` section; an empty list is a valid one."""
    try:
        parse(section)
    except SpecError as error:
        return error.problems
    return []
