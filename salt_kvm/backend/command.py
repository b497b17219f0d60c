"""Run a program of the host and take its output, or say in one sentence why that failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from salt_kvm.errors import ApplyError, DependencyError


def run(arguments: Sequence[str], *, ok: Sequence[int] = (0,)) -> str:
    """Return the standard output of a program.

    :param arguments: the program and its arguments; no shell sees them
    :param ok: the exit codes of a success
    :raises DependencyError: when the program is not installed
    :raises ApplyError: with the program's own first line when it fails
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise DependencyError(
            f"the program {arguments[0]} is not installed; apply kvm.host, which installs it"
        ) from error
    if done.returncode not in ok:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ApplyError(f"{' '.join(arguments[:2])}: {lines[0] if lines else 'failed'}")
    return done.stdout
