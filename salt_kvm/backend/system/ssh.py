"""The OpenSSH client: one connection to a host for all that a process asks of it.

Nobody is asked for a password, and a host whose key is not known is not talked to.
"""

from __future__ import annotations

import hashlib
import os
import stat
from multiprocessing import util

from salt_kvm.backend.system import command, folders
from salt_kvm.backend.system.saying import saying
from salt_kvm.errors import ApplyError, ConnectError, LostError
from salt_kvm.spec.vmx import Esxi

FOLDER = "/run/salt-kvm/ssh"
# An unused connection ends by itself when the process could not end it.
PERSIST_SECONDS = 60
ANSWER_SECONDS = 120
# After so many seconds without a sign a host counts as gone.
ALIVE_SECONDS, ALIVE_COUNT = 5, 3
FAILED = 255

# ssh has no codes for these; where it fails it says one of them.
CONNECTING = {
    "remote host identification has changed": "its host key is not the one that is known; find out "
    "why, then correct known_hosts",
    "host key verification failed": "its host key is not known; add it to known_hosts by "
    "ssh-keyscan, and compare its fingerprint",
    "permission denied": "it refuses the key; add the public key to /etc/ssh/keys-root/"
    "authorized_keys there, or name the right identity_file",
    "too many authentication failures": "it refuses the keys; name the right identity_file",
    "could not resolve hostname": "its name is not known; correct it",
    "connection refused": "nothing answers there; start SSH on it, or correct the port",
    "connection timed out": "it does not answer; see that it is on and reachable",
    "no route to host": "it can't be reached; see that it is on and reachable",
    "network is unreachable": "it can't be reached; see that it is on and reachable",
    "not accessible": "the identity_file can't be read; correct it",
    "bad owner or permissions": "ssh refuses a file of its own for its permissions; correct them",
    "unprotected private key": "the identity_file is for others to read; chmod 0600 it",
    "no matching": "it speaks older SSH algorithms only; allow them in ssh_config",
}
_opened: set[str] = set()


def run(host: Esxi, program: str, given: bytes = b"") -> command.Answer:
    """Run a shell program on a host.

    :raises ConnectError: where the host can't be reached
    :raises LostError: where the connection broke; whether the program ran is not known
    """
    answer = command.ask([*_ssh(host), "--", host.host, program], given, timeout=ANSWER_SECONDS)
    if answer.code is not None and 0 <= answer.code < FAILED:
        return answer
    said = answer.complaint.lower()
    known = next((cure for text, cure in CONNECTING.items() if text in said), None)
    if known is not None:
        raise ConnectError(f"the ESXi host {host} can't be used: {known}")
    last = answer.complaint.splitlines()[-1:] or [f"no answer in {ANSWER_SECONDS} s"]
    raise LostError(f"the connection to the ESXi host {host} broke: {last[0]}; run this again")


def _ssh(host: Esxi) -> list[str]:
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": host.timeout,
        "ServerAliveInterval": ALIVE_SECONDS,
        "ServerAliveCountMax": ALIVE_COUNT,
        "LogLevel": "ERROR",
        "ControlMaster": "auto",
        "ControlPersist": PERSIST_SECONDS,
        "ControlPath": _socket(host),
        "User": host.user,
        "Port": host.port,
        "IdentityFile": host.identity_file and _word(host.identity_file),
        "IdentitiesOnly": "yes" if host.identity_file else None,
        "UserKnownHostsFile": host.known_hosts and _word(host.known_hosts),
        "GlobalKnownHostsFile": "none" if host.known_hosts else None,
    }
    given = {key: value for key, value in options.items() if value is not None}
    return ["ssh", "-T", *(f"-o{key}={value}" for key, value in given.items())]


def _word(path: str) -> str:
    """A path as ssh takes it: ``%`` begins what it fills in."""
    return f'"{path}"'.replace("%", "%%")


def _socket(host: Esxi) -> str:
    """Return where the connection's socket is, and have it closed when the process ends."""
    whole = hashlib.sha256(repr(host).encode()).hexdigest()[:16]
    path = f"{FOLDER}/{os.getpid()}-{whole}"
    if path not in _opened:
        with saying(ApplyError, FOLDER):
            folders.make(FOLDER, 0o700)
            found = os.lstat(FOLDER)
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ApplyError(f"{FOLDER} is for others to use; remove it")
        _opened.add(path)
        # Also in the processes of Salt's jobs, which skip atexit.
        util.Finalize(None, close, (host, path), exitpriority=10)
    return path


def close(host: Esxi, path: str) -> None:
    """End a connection."""
    if os.path.exists(path):
        end = ["ssh", "-oBatchMode=yes", f"-oControlPath={path}", "-Oexit", "--", host.host]
        command.ask(end, timeout=ANSWER_SECONDS)
