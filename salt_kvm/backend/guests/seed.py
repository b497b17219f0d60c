"""The seeds of domains as files: what is there, what they are to hold, and what a guest has read.

A guest reads its seed when it starts and QEMU keeps the file open that it had then. A seed that is
written anew beside it is noticed at the next start; until then what the guest has is on record.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from salt_kvm.backend.client import Client
from salt_kvm.backend.guests import iso, refusals
from salt_kvm.backend.storage import usage
from salt_kvm.backend.system import files, folders, temporary
from salt_kvm.backend.system.command import run
from salt_kvm.backend.system.opening import opened
from salt_kvm.backend.system.saying import saying
from salt_kvm.backend.view import View
from salt_kvm.backend.virt.hypervisor import Hypervisor
from salt_kvm.errors import ApplyError, ObserveError, SpecError, UnmetError
from salt_kvm.plan import seed_data
from salt_kvm.plan.seed import FIELDS, FOLDER, SeedSeen, known, placed
from salt_kvm.plan.steps import WriteSeed
from salt_kvm.seen import FileSeen, Hidden, Observed
from salt_kvm.spec.cloud_init import CloudInit, Ignition, is_file, with_macs
from salt_kvm.spec.domain import Domain
from salt_kvm.spec.types import Mode
from salt_kvm.xml.seed import Place, places

MADE_FOR = "salt-kvm seed"
RECORDS = "/run/salt-kvm/seeds"
IGNITION = "ignition/config.ign"
# An image is a little larger than what is in it.
LARGEST = seed_data.LIMIT * 2
# What a cloud-init exits with that does not know the command.
UNKNOWN_COMMAND = 2


def look(view: View, name: str, want: Domain, there: Observed | None) -> Iterator[SeedSeen]:
    """Yield the seeds that are declared, and those that are to go.

    :raises SpecError: where what is declared is no valid data
    :raises UnmetError: where a file that it names can't be had, or the files are another host's
    """
    if want.state != "absent" and all(getattr(want, field) is None for field in FIELDS.values()):
        return
    declared, gone = placed(name, want, there)
    if not view.world.local:
        if declared:
            raise UnmetError(
                f"the seed of domain {name} is a file of its hypervisor's host; run this there"
            )
        return
    named = {place.path for place in known(name, there)}
    for place in gone:
        yield _seen(view, name, place, None, named, there)
    for place in declared:
        data = _data(view.world.client, name, want, place)
        seen = _seen(view, name, place, data, named, there)
        if seen.want != seen.there:
            _check_schema(name, seen.want or {})
        yield seen


def _seen(
    view: View,
    name: str,
    place: Place,
    want: Mapping[str, Hidden] | None,
    named: set[str],
    guest: Observed | None,
) -> SeedSeen:
    file = view.file(place.path)
    if file is None:
        return SeedSeen(place, want)
    made_for, there = _read(file, place)
    live = guest is not None and guest.live is not None and place in places(guest.name, guest.live)
    had = _remembered(guest, place.path) if live and guest is not None else None
    return SeedSeen(
        place,
        want,
        there,
        shared=want is None and bool(usage.named(view.guests(), place.path, but=name)),
        foreign=place.path not in named and made_for != MADE_FOR,
        mode=Mode(file.mode),
        running=live,
        outdated=live and want is not None and (had or _digest(there)) != _digest(want),
    )


def _read(file: FileSeen, place: Place) -> tuple[str, Mapping[str, Hidden]]:
    """Return what a file was made for, and the files in it; a seed by its contents is the same."""
    if file.seed is not None:
        return MADE_FOR, file.seed
    if file.kind != "file" or (file.size or 0) > LARGEST:
        return "", {}
    with saying(ObserveError, file.path):
        data = Path(file.path).read_bytes()
    if place.how == "fw_cfg":
        return "", {IGNITION: Hidden(data)}
    label, made_for, found = iso.contents(data) or ("", "", {})
    held = {path: Hidden(each) for path, each in found.items()} if label == place.kind else {}
    return made_for, held


def _data(client: Client, name: str, want: Domain, place: Place) -> dict[str, Hidden]:
    where = f"kvm:domains:{name}:{FIELDS[place.kind]}"
    declared = getattr(want, FIELDS[place.kind])
    if place.kind == "cidata":
        told = with_macs(CloudInit() if declared is True else declared, want.interfaces)
        documents = (told.user_data, told.meta_data, told.network_config, told.vendor_data)
        return seed_data.cidata(name, told, _texts(client, where, *documents), where)
    if isinstance(declared, Ignition):
        return seed_data.ignition(declared, _texts(client, where, declared.config), where)
    return seed_data.combustion(declared, _texts(client, where, declared), where)


def _texts(client: Client, where: str, *documents: object) -> dict[str, bytes]:
    return {
        document: _fetched(client, document, where)
        for document in documents
        if isinstance(document, str) and is_file(document)
    }


def _fetched(client: Client, address: str, where: str) -> bytes:
    """Return what a file of this host, or of Salt's file server, holds."""
    with temporary.name(tempfile.gettempdir()) as folder:
        try:
            os.mkdir(folder, 0o700)
            path = address
            if not address.startswith("/"):
                path = client.fetch(address, os.path.join(folder, "file"))
            with opened(path) as file:
                return file.read(seed_data.LIMIT + 1)
        except (OSError, ApplyError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            told = f"{where}: {address} can't be read: {(reason or '').lower()}; correct it"
            raise UnmetError(told) from error


def write(step: WriteSeed, *, over: bool) -> None:
    """Write a seed that is either whole or as it was, for root alone.

    :param over: take the place of the one that is there
    """
    if os.path.dirname(step.path) == FOLDER:
        with saying(ApplyError, FOLDER):
            folders.make(FOLDER, 0o711)
    data = iso.build(step.label, step.files, MADE_FOR) if step.label else step.files[IGNITION]
    # What a run that is killed here leaves is found by the next one.
    with files.anew(step.path, over=over) as made, open(made, "xb", opener=files.private) as file:
        file.write(data)


def remember(hypervisor: Hypervisor, name: str, path: str) -> None:
    """Note what a running guest has read, before its seed is written anew."""
    guest = hypervisor.read("domain", name, autostart=False)
    if guest is None or guest.live is None or _remembered(guest, path) is not None:
        return
    place = next((place for place in places(name, guest.live) if place.path == path), None)
    file = files.look(path)
    if place is not None and file is not None:
        digests = {**_records(guest), path: _digest(_read(file, place)[1])}
        kept = {"guest": refusals.guest(guest), "digests": digests}
        files.write(f"{RECORDS}/{name}", json.dumps(kept).encode(), 0o600)


def overtaken(guest: Observed) -> Iterator[str]:
    """Yield the kinds of the seeds that are not what a running guest was started with."""
    for place in places(guest.name, guest.live or "<domain/>"):
        had, file = _remembered(guest, place.path), files.look(place.path)
        if had is not None and file is not None and had != _digest(_read(file, place)[1]):
            yield place.kind


def _remembered(guest: Observed, path: str) -> str | None:
    return _records(guest).get(path)


def _records(guest: Observed) -> dict[str, str]:
    try:
        kept = json.loads(Path(RECORDS, guest.name).read_text())
    except (OSError, ValueError):
        return {}
    digests: dict[str, str] = kept["digests"] if kept["guest"] == refusals.guest(guest) else {}
    return digests


def _digest(held: Mapping[str, Hidden]) -> str:
    digest = hashlib.sha256()
    for path, data in sorted(held.items()):
        digest.update(f"{path}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _check_schema(name: str, held: Mapping[str, Hidden]) -> None:
    """Ask this host's cloud-init, if it has one, whether it would take a cloud-config.

    What it says of a fault quotes the value, so that it is asked again for each key alone.
    """
    data = held.get("user-data", Hidden(b""))
    where = f"kvm:domains:{name}:cloud_init:user_data"
    if not seed_data.is_cloud_config(data) or shutil.which("cloud-init") is None or _takes(data):
        return
    config = seed_data.cloud_config({}, where)
    if not _takes(config):
        # One that takes nothing is broken.
        return
    keys = [
        key
        for key, value in seed_data.parsed(data, where).items()
        if not _takes(seed_data.cloud_config({key: value}, where))
    ]
    told = ", ".join(map(repr, keys)) or "what is in it"
    raise SpecError([f"{where}: the schema of this host's cloud-init does not take {told}"])


def _takes(data: bytes) -> bool:
    with temporary.name(tempfile.gettempdir()) as made:
        with open(made, "xb", opener=files.private) as file:
            file.write(data)
        with suppress(ApplyError):
            run(["cloud-init", "schema", "--config-file", made], ok=(0, UNKNOWN_COMMAND))
            return True
    return False
