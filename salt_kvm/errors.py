"""Everything that can go wrong for a user, one class for each phase of a run.

A message is one sentence that says what failed, where, and how to cure it. Anything that is not a
:class:`KvmError` is a bug and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

# What of a value a message shows.
LONGEST = 60


def shown(value: object) -> str:
    """Return a value for a message, cut; what can't be written out is named by its type."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class KvmError(Exception):
    """The base: the only class that the faces catch."""


class DependencyError(KvmError):
    """A Python library that the engine needs is not in the Python that runs Salt."""


class SpecError(KvmError):
    """What the user wrote is not valid; ``problems`` holds one sentence for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class ConnectError(KvmError):
    """The hypervisor can't be reached."""


class LostError(ConnectError):
    """The connection broke in the middle of a call: whether it was carried out is not known."""


class ObserveError(KvmError):
    """What is there can't be read."""


class UnmetError(KvmError):
    """What a plan needs (a file, a network, CPU virtualisation) is not there."""


class ApplyError(KvmError):
    """A step failed; what the run had made was undone."""


class RefusedError(ApplyError):
    """libvirt can't do that, here or to a running object; nothing was changed."""


class AgentError(KvmError):
    """The agent in a guest refuses what it is asked."""


class NoAnswerError(AgentError):
    """The agent in a guest does not answer."""


class NotFoundError(KvmError):
    """A named object is not there."""
