"""The steps on the host itself: its files, its kernel, its daemons."""

from __future__ import annotations

from salt_kvm.plan.steps import FileStep, Step
from salt_kvm.seen import Hidden


class WriteFile(FileStep, frozen=True, kw_only=True):
    """Write a text file whole; one that is there keeps its owner and mode, and is kept aside.

    ``text`` is ``None`` where it is to go. ``secret``: nobody but its owner may read it.
    ``readers`` are to read it anew: a run that is killed leaves that to the next.
    """

    text: str | None
    mode: int = 0o644
    secret: bool = False
    readers: tuple[str, ...] = ()
    did = "wrote {path}"
    would = "write {path}"

    def sentence(self, *, done: bool) -> str:
        if self.text is not None:
            return super().sentence(done=done)
        return f"{'removed' if done else 'remove'} {self.path}"

    def __repr__(self) -> str:
        return f"WriteFile({self.path})"


class SetParameter(FileStep, frozen=True, kw_only=True):
    """Set what the kernel lets be set by a file of its own, until it boots again."""

    value: str
    did = "set {path} to {value}"
    would = "set {path} to {value}"


class ReloadModule(FileStep, frozen=True, kw_only=True):
    """Load a module of the kernel anew; ``path`` is its parameter, and its ``value`` then."""

    module: str
    parameter: str
    value: str
    did = "loaded the module {module} anew"
    would = "load the module {module} anew"
    cure = "Another file in /etc/modprobe.d, or the kernel's command line, sets it too: remove that"


class RestartDaemon(Step, frozen=True, kw_only=True):
    """Have a running daemon read its files anew; guests go on. ``how``: restart or reload."""

    name: str
    how: str

    def sentence(self, *, done: bool) -> str:
        return f"{self.how}{'ed' if done else ''} {self.name}"


class UpdateBootLoader(Step, frozen=True, kw_only=True):
    """Have the boot loader read what the next boot is to have."""

    command: tuple[str, ...]
    did = "updated the boot loader"
    would = "update the boot loader"


class SetSaslUser(Step, frozen=True, kw_only=True):
    """Let a user log in by SASL with a password."""

    name: str
    password: Hidden
    new: bool
    did = "set the password of {name}"
    would = "set the password of {name}"


class RemoveSaslUser(Step, frozen=True, kw_only=True):
    name: str
    did = "removed {name}"
    would = "remove {name}"
