"""Run a program of the host and take its output, or say in one sentence why that failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

from salt_kvm.errors import ApplyError, DependencyError


def run(
    arguments: Sequence[str],
    *,
    ok: Sequence[int] = (0,),
    heard: Callable[[str], None] | None = None,
    handles: Sequence[int] = (),
) -> str:
    """Return the standard output of a program.

    :param arguments: the program and its arguments; no shell sees them
    :param ok: the exit codes of a success
    :param heard: is given each line as it comes, instead of it being returned
    :param handles: open files that it gets too
    :raises DependencyError: when the program is not installed
    :raises ApplyError: with the program's own first line when it fails
    """
    environment = {**os.environ, "LC_ALL": "C"}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            arguments, stdout=pipe, stderr=pipe, text=True, env=environment, pass_fds=tuple(handles)
        )
    except FileNotFoundError as error:
        raise DependencyError(
            f"the program {arguments[0]} is not installed; apply kvm.host, which installs it"
        ) from error
    with process:
        try:
            if heard is not None and process.stdout is not None:
                # In text mode a line also ends at the carriage return of a percentage.
                for line in process.stdout:
                    heard(line)
            output, complaint = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode not in ok:
        lines = (complaint or output).strip().splitlines()
        raise ApplyError(f"{' '.join(arguments[:2])}: {lines[0] if lines else 'failed'}")
    return output
