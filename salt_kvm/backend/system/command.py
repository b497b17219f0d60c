"""Run a program of the host and take its output, or say in one sentence why that failed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
    environment = {**os.environb, b"LC_ALL": b"C"}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            arguments,
            stdout=pipe,
            stderr=pipe,
            # A name that is told may be in any encoding.
            text=True,
            errors="replace",
            env=environment,
            pass_fds=tuple(handles),
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


class Answer(NamedTuple):
    """What a program said; ``code`` is ``None`` where it was not waited for any longer."""

    code: int | None
    output: bytes
    complaint: str


def ask(arguments: Sequence[str], given: bytes = b"", *, timeout: float) -> Answer:
    """Give a program its standard input and return what it says, whatever its exit code.

    Its complaints go into a file: what it leaves running in the background may hold on to them.

    :param arguments: the program and its arguments; no shell of this host sees them
    :param timeout: seconds after which it is ended
    :raises DependencyError: when the program is not installed
    """
    with tempfile.TemporaryFile() as complaints:
        pipe = subprocess.PIPE
        environment = {**os.environb, b"LC_ALL": b"C"}
        try:
            process = subprocess.Popen(
                arguments, stdin=pipe, stdout=pipe, stderr=complaints, env=environment
            )
        except FileNotFoundError as error:
            raise DependencyError(
                f"the program {arguments[0]} is not installed; install it on this host"
            ) from error
        with process:
            try:
                output, _none = process.communicate(given, timeout)
                code: int | None = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                output, code = process.communicate()[0], None
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        return Answer(code, output, complaints.read().decode(errors="replace").strip())
