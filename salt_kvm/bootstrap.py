"""What must work before all other states: libraries in Salt's own Python, and libvirt's daemons.

It imports nothing that a bare host may lack. Salt's ``pip.installed`` and ``cmd.run`` would need
``unless`` not to start a process in every run, and that makes Salt load each of its state modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salt_kvm.backend.hosts import daemons, python
from salt_kvm.errors import KvmError
from salt_kvm.face import Verdict, verdict


def libraries(
    salt: dict[str, Any], failure: type[Exception], name: str, packages: Sequence[str] | None
) -> Verdict:
    """Install what is missing of ``packages`` and return Salt's state dictionary.

    :param salt: the ``globals()`` of the loader file
    :param failure: what Salt's ``pip.install`` raises where it can't even start
    :param name: the state's name
    :param packages: requirements as pip takes them; None: what this pack needs
    """
    wanted = python.listed(python.LIBRARIES if packages is None else packages)
    before = python.describe(wanted)
    missing, target = before["missing"], before["executable"]
    changes = {item: {"old": None, "new": "installed"} for item in missing}
    if not missing:
        return verdict(name, True, f"{target} has {', '.join(wanted)}.")
    if salt["__opts__"].get("test"):
        comment = f"{', '.join(missing)} would be installed into {target}."
        return verdict(name, None, comment, changes)
    said = _install(salt, failure, missing)
    lacking = python.describe(wanted)["missing"]
    changes = {key: change for key, change in changes.items() if key not in lacking}
    if lacking:
        comment = f"pip could not install {', '.join(lacking)} into {target}: {said}"
        return verdict(name, False, comment, changes)
    return verdict(name, True, f"{', '.join(missing)} installed into {target}.", changes)


def daemon(salt: dict[str, Any], name: str, *, anew: bool = False) -> Verdict:
    """Start a daemon by hand where it does not run, and return Salt's state dictionary.

    :param anew: restart it where it runs
    """
    there = daemons.running(name)
    if there and not anew:
        return verdict(name, True, f"{name} runs.")
    old, new = ("running", "restarted") if there else ("stopped", "started")
    changes = {name: {"old": old, "new": new if there else "running"}}
    if salt["__opts__"].get("test"):
        return verdict(name, None, f"{name} would be {new}.", changes)
    try:
        if there:
            daemons.renew(name, "restart")
        else:
            daemons.start(name)
    except KvmError as error:
        return verdict(name, False, str(error))
    return verdict(name, True, f"{name} was {new}.", changes)


def _install(salt: dict[str, Any], failure: type[Exception], missing: list[str]) -> str:
    """Run pip by Salt's default, which is the Python that runs Salt or the bundle's own pip."""
    try:
        outcome = salt["__salt__"]["pip.install"](pkgs=missing)
    except failure as error:
        return str(error)
    return str(outcome.get("stderr") or outcome.get("stdout") or "it gave no reason").strip()
