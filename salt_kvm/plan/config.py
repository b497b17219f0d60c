"""The steps of configuration files: keys are set, and who reads the file reads it anew."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from salt_kvm import conf
from salt_kvm.errors import ObserveError, SpecError
from salt_kvm.plan.host_steps import RestartDaemon, WriteFile
from salt_kvm.plan.steps import Need, Step, change
from salt_kvm.spec.host import HOW, READERS, RESTART, SHELL_FILES, Config
from salt_kvm.spec.types import Value
from salt_kvm.xml.merge import HIDDEN, Difference

# What of a key's value is shown to nobody.
_SECRET = re.compile(r"(^|_)(password|secret|passphrase)$", re.IGNORECASE)
OPEN, CLOSED = 0o644, 0o600
MANY = 5
FOREGROUND = "in the foreground, to be restarted where it was started"
NOW = "with its files of now"


class ConfigSeen(msgspec.Struct, frozen=True):
    """The declared files, by name: each one's path and text, which is ``None`` where none is.

    ``due`` are the daemons that a run before had to leave with what they had read; ``running``
    tells whether a daemon runs, ``minded`` whether somebody else has to restart it.
    """

    paths: Mapping[str, str]
    texts: Mapping[str, str | None]
    due: frozenset[str]
    running: Callable[[str], bool]
    minded: Callable[[str], bool]


def plan(name: str, want: Config, seen: ConfigSeen) -> Iterator[Step | Difference]:
    """Yield what gives each key its value, and each daemon that runs the file."""
    stale = dict.fromkeys(sorted(seen.due & {d for file in want.files for d in READERS[file]}))
    for file, settings in want.files.items():
        step = _write(file, settings, seen)
        if step is not None:
            yield step
            stale |= dict.fromkeys(READERS[file])
    for daemon in stale:
        if not seen.running(daemon):
            continue
        how = HOW.get(daemon, RESTART)
        minded = how == RESTART and seen.minded(daemon)
        if want.restart and not minded:
            changes = {daemon: change("running", f"{how}ed")}
            yield RestartDaemon(name=daemon, how=how, changes=changes)
        elif daemon in seen.due:
            yield Difference(daemon, FOREGROUND if minded else "as it was started", NOW)


def _write(file: str, settings: Mapping[str, conf.Setting], seen: ConfigSeen) -> WriteFile | None:
    path, text = seen.paths[file], seen.texts[file]
    syntax = conf.SHELL if file in SHELL_FILES else conf.LIBVIRT
    try:
        old = conf.values(text or "", syntax)
        new = conf.edit(text or "", {key: _open(settings[key]) for key in settings}, syntax)
    except conf.ConfError as error:
        raise ObserveError(f"{path}: {error}; correct it") from None
    if new == (text or ""):
        return None
    _known(path, text or "", [key for key in settings if key not in old])
    differ = [key for key, value in settings.items() if not conf.same(old.get(key), value)]
    secret = any(_secret(key, value) for key, value in settings.items())
    folder = path.rpartition("/")[0]
    return WriteFile(
        path=path,
        text=new,
        mode=CLOSED if secret else OPEN,
        secret=secret,
        readers=READERS[file],
        changes={f"{file}:{key}": _change(key, old.get(key), settings[key]) for key in differ},
        needs=(Need("directory", folder, "apply kvm.host, which installs libvirt"),),
    )


def _known(path: str, text: str, new: Sequence[str]) -> None:
    """libvirt takes no notice of what it does not know, so a slip would go unseen.

    Its own files show every key in a comment; in one that does not, nothing can be known.
    """
    shown = conf.shown(text)
    for key in new if len(shown) >= MANY else ():
        if key not in shown:
            near = difflib.get_close_matches(key, shown, n=1)
            hint = f"did you mean {near[0]}?" if near else "correct it."
            known = f"If this libvirt knows it, write the line #{key} = into that file"
            raise SpecError([f"{path} does not speak of {key}; {hint} {known}"])


def _secret(key: str, value: object) -> bool:
    """What was looked up is one too."""
    return isinstance(value, Value) or _SECRET.search(key) is not None


def _open(value: conf.Setting) -> conf.Setting:
    return value.encode().decode() if isinstance(value, Value) else value


def _change(key: str, old: object, new: object) -> dict[str, object]:
    if _secret(key, new):
        return change(*(None if value is None else HIDDEN for value in (old, new)))
    return change(old, new)
