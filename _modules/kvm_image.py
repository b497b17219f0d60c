"""
Disk images
===========

Disk images through qemu-img.
"""

from salt.exceptions import CommandExecutionError

from salt_kvm import face

__func_alias__ = {"map_": "map"}
_run = face.command("image", CommandExecutionError)


def info(path, connection=None):
    """
    Return what qemu-img says of an image, with its owner, group and mode.

    :param str path: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping as of ``qemu-img info --output=json``; sizes in bytes
    :raises CommandExecutionError: when there is no image

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.info /opt/CentOS-7-x86_64.raw
    """
    return _run("info", globals(), connection=connection, path=path)


def create(path, connection=None, **fields):
    """
    Make an image; one that is there is never overwritten.

    :param str path: absolute path of the image file
    :param str connection: libvirt URI; default ``qemu:///system``
    :param fields: the other arguments of the state ``kvm_image.present``
    :returns: false when it was there as described
    :raises CommandExecutionError: when it can't be made, or something else is there

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.create /opt/CentOS-7-x86_64.raw format=raw size=10GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run("create", globals(), connection=connection, path=path, fields=wanted)


def resize(path, size, format=None, shrink=False, connection=None):
    """
    Change the size of an image, while a guest runs on it too.

    :param str path: absolute path of the image file
    :param str size: what the guest is to see, with a unit or in bytes
    :param str format: its format; needed where it names a backing file
    :param bool shrink: cut off the end, with what it holds; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: false when it had that size
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.resize /srv/a.qcow2 20GiB format=qcow2
    """
    return _run(
        "resize",
        globals(),
        connection=connection,
        path=path,
        size=size,
        format=format,
        shrink=shrink,
    )


def convert(path, target, format, source_format=None, options=None, connection=None):
    """
    Write what a guest sees of an image into a new one, of another format.

    :param str path: absolute path of the image file
    :param str target: absolute path of the new image; one that is there is never overwritten
    :param str format: format of the new image
    :param str source_format: its format; needed where it names a backing file
    :param dict options: of the new format, by ``qemu-img``'s names
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.convert /srv/a.raw /srv/a.vmdk vmdk
    """
    return _run(
        "convert",
        globals(),
        connection=connection,
        path=path,
        target=target,
        format=format,
        source_format=source_format,
        options=options,
    )


def rebase(path, backing, backing_format=None, format=None, unsafe=False, connection=None):
    """
    Put an image on another backing file; a guest sees what it saw.

    The image is written again beside the old one, which stays until the new one is whole.

    :param str path: absolute path of the image file
    :param str backing: absolute path of the backing file; ``''``: none
    :param str backing_format: its format; needed where it does not look raw
    :param str format: its format; needed where it names a backing file
    :param bool unsafe: only write the name, for a file that holds the same; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: false when it stood there
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.rebase /srv/a.qcow2 /srv/base.qcow2 qcow2 format=qcow2
    """
    return _run(
        "rebase",
        globals(),
        connection=connection,
        path=path,
        backing=backing,
        backing_format=backing_format,
        format=format,
        unsafe=unsafe,
    )


def commit(path, format=None, connection=None):
    """
    Write what an image adds to its backing file into that file.

    Refused while another image stands on it.

    :param str path: absolute path of the image file
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.commit /srv/a.qcow2 format=qcow2
    """
    return _run("commit", globals(), connection=connection, path=path, format=format)


def check(path, format=None, repair=None, connection=None):
    """
    Return what is wrong inside an image.

    :param str path: absolute path of the image file
    :param str format: its format; needed where it names a backing file
    :param str repair: mend ``leaks`` or ``all`` of it
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping as of ``qemu-img check --output=json``: ``corruptions``, ``leaks``,
        ``check-errors``; a kind without faults may be left out
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.check /srv/a.qcow2
    """
    return _run("check", globals(), connection=connection, path=path, format=format, repair=repair)


def compare(path, other, format=None, other_format=None, connection=None):
    """
    Tell whether a guest sees the same in two images.

    :param str path: absolute path of the image file
    :param str other: absolute path of the other image
    :param str format: its format; needed where it names a backing file
    :param str other_format: its format
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping: ``identical``, and ``difference`` in words
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.compare /srv/a.raw /srv/b.qcow2
    """
    return _run(
        "compare",
        globals(),
        connection=connection,
        path=path,
        other=other,
        format=format,
        other_format=other_format,
    )


def measure(path, target, format=None, connection=None):
    """
    Return how many bytes a conversion would take.

    :param str path: absolute path of the image file
    :param str target: the format of a new image
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping: ``required``, ``fully-allocated``
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.measure /srv/a.raw qcow2
    """
    return _run(
        "measure", globals(), connection=connection, path=path, target=target, format=format
    )


def map_(path, format=None, connection=None):
    """
    Return the extents of an image, and how deep in its chain each lies.

    :param str path: absolute path of the image file
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``start``, ``length``, ``depth``, ``zero``, ``data``, ``offset``
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.map /srv/a.qcow2
    """
    return _run("map_", globals(), connection=connection, path=path, format=format)


def dd(
    path, target, format, source_format=None, block_size=512, count=None, skip=0, connection=None
):
    """
    Write a part of what a guest sees of an image into a new one.

    :param str path: absolute path of the image file
    :param str target: absolute path of the new image; one that is there is never overwritten
    :param str format: format of the new image
    :param str source_format: its format; needed where it names a backing file
    :param str block_size: with a unit or in bytes
    :param int count: how many blocks; all where undeclared
    :param int skip: how many blocks to leave out first
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.dd /srv/a.raw /srv/boot.raw raw block_size=1MiB count=1
    """
    return _run(
        "dd",
        globals(),
        connection=connection,
        path=path,
        target=target,
        format=format,
        source_format=source_format,
        block_size=block_size,
        count=count,
        skip=skip,
    )


def snapshot_list(path, format=None, connection=None):
    """
    Return the internal snapshots of an image.

    :param str path: absolute path of the image file
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``name``, ``id``, ``date-sec``, ...
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.snapshot_list /srv/a.qcow2
    """
    return _run("snapshots", globals(), connection=connection, path=path, format=format)


def snapshot_create(path, name, format=None, connection=None):
    """
    Make an internal snapshot of an image.

    :param str path: absolute path of the image file
    :param str name: name of the snapshot
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.snapshot_create /srv/a.qcow2 before-upgrade
    """
    return _run(
        "snapshot",
        globals(),
        connection=connection,
        how="create",
        path=path,
        name=name,
        format=format,
    )


def snapshot_apply(path, name, format=None, connection=None):
    """
    Make an image what it was at a snapshot. What it holds now is lost.

    :param str path: absolute path of the image file
    :param str name: name of the snapshot
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.snapshot_apply /srv/a.qcow2 before-upgrade
    """
    return _run(
        "snapshot",
        globals(),
        connection=connection,
        how="apply",
        path=path,
        name=name,
        format=format,
    )


def snapshot_delete(path, name, format=None, connection=None):
    """
    Delete an internal snapshot of an image.

    :param str path: absolute path of the image file
    :param str name: name of the snapshot
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.snapshot_delete /srv/a.qcow2 before-upgrade
    """
    return _run(
        "snapshot",
        globals(),
        connection=connection,
        how="delete",
        path=path,
        name=name,
        format=format,
    )


def bitmap_list(path, format=None, connection=None):
    """
    Return the dirty bitmaps of an image.

    :param str path: absolute path of the image file
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``name``, ``granularity``, ``flags``
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_list /srv/a.qcow2
    """
    return _run("bitmaps", globals(), connection=connection, path=path, format=format)


def bitmap_add(path, name, format=None, granularity=None, connection=None):
    """
    Add a dirty bitmap to an image.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str format: its format; needed where it names a backing file
    :param str granularity: how much one bit stands for, with a unit or in bytes
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_add /srv/a.qcow2 daily
    """
    return _run(
        "bitmap",
        globals(),
        connection=connection,
        how="add",
        path=path,
        name=name,
        format=format,
        granularity=granularity,
    )


def bitmap_remove(path, name, format=None, connection=None):
    """
    Remove a dirty bitmap of an image.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_remove /srv/a.qcow2 daily
    """
    return _run(
        "bitmap",
        globals(),
        connection=connection,
        how="remove",
        path=path,
        name=name,
        format=format,
    )


def bitmap_clear(path, name, format=None, connection=None):
    """
    Clear a dirty bitmap of an image.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_clear /srv/a.qcow2 daily
    """
    return _run(
        "bitmap", globals(), connection=connection, how="clear", path=path, name=name, format=format
    )


def bitmap_enable(path, name, format=None, connection=None):
    """
    Let a dirty bitmap of an image record.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_enable /srv/a.qcow2 daily
    """
    return _run(
        "bitmap",
        globals(),
        connection=connection,
        how="enable",
        path=path,
        name=name,
        format=format,
    )


def bitmap_disable(path, name, format=None, connection=None):
    """
    Let a dirty bitmap of an image record no more.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_disable /srv/a.qcow2 daily
    """
    return _run(
        "bitmap",
        globals(),
        connection=connection,
        how="disable",
        path=path,
        name=name,
        format=format,
    )


def bitmap_merge(path, name, source, format=None, connection=None):
    """
    Merge a dirty bitmap of an image into another.

    :param str path: absolute path of the image file
    :param str name: name of the bitmap
    :param str source: name of the bitmap of the image that is merged into it
    :param str format: its format; needed where it names a backing file
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: true
    :raises CommandExecutionError: when there is no such image, it is in use, or it can't be done

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.bitmap_merge /srv/a.qcow2 weekly daily
    """
    return _run(
        "bitmap",
        globals(),
        connection=connection,
        how="merge",
        path=path,
        name=name,
        source=source,
        format=format,
    )


def store(connection=None):
    """
    Return the images of the store, each with the domains and images that stand on it.

    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a list of mappings: ``source``, ``sha256``, ``format``, ``virtual_size``, ``stored``
        (bytes), ``fetched``, ``path``, ``users``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.store
    """
    return _run("store", globals(), connection=connection)


def prune(remove=False, connection=None):
    """
    Tell which images of the store nothing stands on, and remove them where ``remove`` says so.

    A clone whose file system is not mounted counts as standing on its image.

    :param bool remove: remove them; default false
    :param str connection: libvirt URI; default ``qemu:///system``
    :returns: a mapping: ``entries`` (as of ``kvm_image.store``), ``bytes``, ``removed``, and how
        many are ``kept``
    :raises CommandExecutionError: when libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.prune
        salt '*' kvm_image.prune remove=True
    """
    return _run("prune", globals(), connection=connection, remove=remove)


def plan(name, connection=None, state="present", **fields):
    """
    Return what a state with these fields would do; nothing is changed.

    :param str name: path of the image
    :param str connection: libvirt URI; default ``qemu:///system``
    :param str state: the state function; default ``present``
    :param fields: the other arguments of the state function
    :returns: ``steps`` (sentences), ``changes`` as the state would return them, and ``waiting``:
        what the next start will bring
    :raises CommandExecutionError: when the fields are not valid, or libvirt can't be reached

    CLI Example:

    .. code-block:: bash

        salt '*' kvm_image.plan /opt/web1.raw size=10GiB
    """
    wanted = {key: value for key, value in fields.items() if not key.startswith("__")}
    return _run(
        "plan", globals(), connection=connection, name=name, fields={**wanted, "state": state}
    )
