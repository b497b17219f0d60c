"""An ESXi host by SSH: no more of it is needed than its shell, a few tools and ``vim-cmd``.

A file's name reaches the shell over there in quotes, its text by standard input. Of busybox's tools
``cat cp md5sum mv rm wc`` are needed, and what its shell has built in; ``sync`` where it is there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from shlex import quote
from typing import Any

from salt_kvm.backend.system import command
from salt_kvm.backend.system.ssh import run
from salt_kvm.errors import ApplyError, ObserveError
from salt_kvm.spec.vmx import Esxi

VOLUMES = "/vmfs/volumes"
GONE, LINK, CHANGED, HALF, NO_FILE, LARGE = range(81, 87)

CURES = {
    "no space left on device": "free some space in the datastore",
    "read-only file system": "mount the datastore writable",
    "permission denied": "log in as root",
    "operation not permitted": "log in as root",
    "no such file": "correct the path",
    "device or resource busy": "a running machine holds it; shut it down",
}
# Columns are some blanks apart; a name may have one blank and then a bracket in it.
ROWS = [
    re.compile(
        rf"(?P<number>\d+)\s+(?P<name>.*?){gap}\[(?P<store>[^]]+)\] (?P<file>.+?\.vmx)\s+"
        r"(?P<guest>\S*)\s+(?P<version>vmx-\d+)(?:\s.*)?"
    )
    for gap in (r"\s{2,}", r"\s+")
]
BOOTED = re.compile(r'bootTime = "([^"]+)"')


def read(host: Esxi, path: str, largest: int) -> bytes | None:
    """Return a file's text; ``None`` where there is none."""
    file = quote(path)
    answer = run(
        host,
        f"[ -e {file} ] || exit {GONE}; [ -f {file} ] || exit {NO_FILE}; "
        f's=$(wc -c < {file}) || exit 1; [ "$s" -le {largest} ] || exit {LARGE}; cat {file}',
    )
    if answer.code == GONE:
        return None
    if answer.code in (NO_FILE, LARGE):
        what = "no file" if answer.code == NO_FILE else "too large for a .vmx file"
        raise ObserveError(f"{path} on {host} is {what}; correct the path")
    if answer.code != 0:
        raise ObserveError(_fault(host, path, answer))
    return answer.output


def write(host: Esxi, path: str, old: bytes, new: bytes, backup: str | None) -> None:
    """Write a file that is either whole or as it was; it keeps its owner and mode.

    A connection that breaks ends the text too early; its checksum then keeps it from its place.

    :raises ApplyError: where it is not ``old`` any more, or can't be written
    """
    folder, name = os.path.split(path)
    places = {"f": path, "n": f"{folder}/.salt-kvm-{_own()}-{name}", "b": backup or ""}
    program = "".join(f"{key}={quote(value)}; " for key, value in places.items()) + _WRITE
    program = program.replace("OLD", _sum(old)).replace("NEW", _sum(new))
    answer = run(host, program, new)
    faults = {
        GONE: "went away while this run was at work on it; correct the path",
        LINK: "is a link; name the file that it leads to",
        CHANGED: "was changed by somebody else while this run was at work on it; run this again",
    }
    if answer.code in faults:
        raise ApplyError(f"{path} on {host} {faults[answer.code]}")
    if answer.code != 0:
        raise ApplyError(_fault(host, path, answer))


_WRITE = f"""
drop() {{ rm -f "$n"; [ -z "$b" ] || rm -f "$b"; exit $1; }}
sum() {{ s=$(md5sum < "$1") || drop {HALF}; [ "${{s%% *}}" = "$want" ]; }}
[ ! -L "$f" ] || exit {LINK}
[ -f "$f" ] || exit {GONE}
want=OLD; sum "$f" || exit {CHANGED}
[ -z "$b" ] || cp -p "$f" "$b" || drop {HALF}
cp -p "$f" "$n" && cat > "$n" || drop {HALF}
want=NEW; sum "$n" || drop {HALF}
sync 2>/dev/null || :
[ -f "$f" ] || drop {GONE}
want=OLD; sum "$f" || drop {CHANGED}
mv -f "$n" "$f" || drop {HALF}
sync 2>/dev/null || :
"""


def _sum(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _own() -> str:
    """What tells this machine's unfinished files from another's: the next run writes over it."""
    try:
        with open("/etc/machine-id", "rb") as file:
            known = file.read()
    except OSError:
        known = os.uname().nodename.encode()
    return hashlib.sha256(known).hexdigest()[:8]


def remove(host: Esxi, path: str) -> None:
    """Remove a file."""
    answer = run(host, f"rm -f {quote(path)}")
    if answer.code != 0:
        raise ApplyError(_fault(host, path, answer))


def registered(host: Esxi) -> list[dict[str, Any]]:
    """Return the machines that a host has registered."""
    found = []
    for line in _vim(host, "vmsvc/getallvms").splitlines():
        match = next(filter(None, (row.fullmatch(line) for row in ROWS)), None)
        if match is not None:
            path = f"{VOLUMES}/{match['store']}/{match['file']}"
            row = {key: match[key] for key in ("name", "guest", "version")}
            found.append({"number": int(match["number"]), **row, "path": path})
    return found


def machines(host: Esxi, path: str) -> tuple[int, ...]:
    """Return the numbers of the machines whose file this is.

    A note that looks like a row of the list counts as a machine, so that more is looked at.
    """
    name = os.path.basename(path)
    rows = [row for row in registered(host) if os.path.basename(row["path"]) == name]
    places = _places(host, [path, *(row["path"] for row in rows)]) if rows else [""]
    return tuple(
        row["number"]
        for row, place in zip(rows, places[1:], strict=True)
        if row["path"] == path or place == places[0]
    )


def _places(host: Esxi, paths: list[str]) -> list[str]:
    """Return where files' directories really are: a datastore's name is a link to its UUID."""
    folders = " ".join(quote(os.path.dirname(path)) for path in paths)
    program = f'for d in {folders}; do (cd "$d" && pwd -P || echo "$d"); printf \'\\0\'; done'
    answer = run(host, f"{program} 2>/dev/null")
    return [part.rstrip("\n") for part in os.fsdecode(answer.output).split("\0")[:-1]]


def session(host: Esxi, path: str, numbers: Callable[[], tuple[int, ...]]) -> str | None:
    """Return the power cycle that a machine is in; ``None`` where it is off.

    One that is not registered here may run on another host that has the datastore: then there is a
    lock beside its file.
    """
    for number in numbers():
        if "powered off" not in _vim(host, f"vmsvc/power.getstate {number}").lower():
            booted = BOOTED.search(_vim(host, f"vmsvc/get.summary {number}"))
            return f"{number} since {booted[1] if booted else 'some time'}"
    lock = f"{path}.lck"
    if not numbers() and run(host, f"[ -e {quote(lock)} ]").code == 0:
        return f"on another host: {lock}"
    return None


def reload(host: Esxi, number: int) -> None:
    """Have a host read the file of a machine again."""
    _vim(host, f"vmsvc/reload {number}", ApplyError)


def _vim(
    host: Esxi, asked: str, error: type[ApplyError] | type[ObserveError] = ObserveError
) -> str:
    answer = run(host, f"vim-cmd {asked}")
    if answer.code != 0:
        first = (answer.complaint or answer.output.decode(errors="replace")).splitlines()[:1]
        raise error(
            f"vim-cmd {asked} on {host}: {first[0] if first else 'failed'}; see that it is an ESXi "
            "host and that its hostd runs"
        )
    return os.fsdecode(answer.output)


def find(host: Esxi, *, volumes: bool, depth: int) -> list[dict[str, Any]]:
    """Return the registered machines, and the other files in the datastores where that is wanted.

    :param volumes: look there too
    :param depth: how many directories deep
    """
    found = [{**row, "powered_on": _on(host, row["number"])} for row in registered(host)]
    if not volumes:
        return found
    known = set(_files(host, [row["path"] for row in found]))
    stars = [f"{VOLUMES}/*{'/*' * more}" for more in range(depth)]
    patterns = " ".join(f"{star}/*.[vV][mM][xX]" for star in stars)
    listed = run(
        host,
        f'for f in {patterns}; do s=${{f#{VOLUMES}/}}; [ -L "{VOLUMES}/${{s%%/*}}" ] || '
        '[ ! -f "$f" ] || printf \'%s\\0\' "$f"; done',
    )
    paths = [path for path in os.fsdecode(listed.output).split("\0") if path]
    return [*found, *({"number": None, "path": path} for path in paths if path not in known)]


def _on(host: Esxi, number: int) -> bool:
    return "powered off" not in _vim(host, f"vmsvc/power.getstate {number}").lower()


def _files(host: Esxi, paths: list[str]) -> list[str]:
    places = _places(host, paths) if paths else []
    names = [os.path.basename(path) for path in paths]
    return [f"{place}/{name}" for place, name in zip(places, names, strict=True)]


def _fault(host: Esxi, path: str, answer: command.Answer) -> str:
    said = answer.complaint.splitlines()
    reason = said[-1].split(": ")[-1] if said else "failed"
    cure = next((cure for text, cure in CURES.items() if text in answer.complaint.lower()), "")
    return f"{path} on {host}: {reason.lower()}; {cure or 'look at it there'}"
