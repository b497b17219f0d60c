"""What the system refuses, and how long a name may be."""

import os
import sys

import pytest

from salt_kvm.backend.storage import begun
from salt_kvm.backend.system import command, files, folders, lock
from salt_kvm.errors import ApplyError


@pytest.mark.parametrize("owner", ["²", "4294967295", "9" * 30, "a\0b", "\ud800", "no such"])
def test_who_cannot_be_an_owner_is_told(tmp_path, owner):
    with pytest.raises(ApplyError, match="user"):
        files.set_ownership(str(tmp_path), owner, None, None)


def test_long_names_that_begin_or_end_alike_stay_two(tmp_path, monkeypatch):
    """Whoever holds the lock of the one would wait for itself at the other."""
    monkeypatch.setattr(lock, "FOLDER", str(tmp_path))
    folder = "/srv/" + "\u5b58" * 40
    with lock.held("store", folder), lock.held("store", f"{folder}/key", patience=0):
        pass
    name = "\u5b58" * 40
    assert begun._path("qemu:///system", f"a/{name}") != begun._path("qemu:///system", f"b/{name}")


@pytest.mark.parametrize("how", ["owned", "writable", "link"])
def test_a_folder_of_locks_that_others_write_into_is_not_used(tmp_path, monkeypatch, how):
    """Each name in it could be a link to a file that is then made, or opened."""
    folder = tmp_path / "locks"
    monkeypatch.setattr(lock, "FOLDER", str(folder))
    folder.mkdir()
    if how == "link":
        (folder / "image-a").symlink_to(tmp_path / "made")
    elif how == "owned":
        if os.geteuid():
            pytest.skip("only root gives a folder away")
        os.chown(folder, 65534, 65534)
    else:
        folder.chmod(0o777)
    with pytest.raises(ApplyError), lock.held("image", "a"):
        pass
    assert not (tmp_path / "made").exists()


def test_a_name_in_any_encoding_is_told():
    told = "import sys; sys.stderr.buffer.write(b'/srv/\\xe9: no'); sys.exit(1)"
    with pytest.raises(ApplyError, match="/srv/"):
        command.run([sys.executable, "-c", told])


@pytest.mark.parametrize("path", ["a", "a/b", "./a"])
def test_a_folder_may_be_named_from_here(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    folders.make(path)
    assert (tmp_path / path).is_dir()
