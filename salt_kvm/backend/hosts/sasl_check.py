"""Ask SASL for a user: ``APPLICATION USER``, the password on the standard input, or nothing.

Run as a program of its own; prints the result of Cyrus SASL's call (``sasl.h``), 1 where there is
no such library. Without a password: whether there is such a user.
"""

import ctypes
import os
import sys

# Debian's library, and that of the others.
NAMES = ("libsasl2.so.2", "libsasl2.so.3")


def main() -> int:
    """Return what SASL says."""
    library = _library()
    if library is None:
        return 1
    application, user = (os.fsencode(word) for word in sys.argv[1:])
    password = sys.stdin.buffer.read()
    begun = library.sasl_server_init(None, application)
    session = ctypes.c_void_p()
    # As libvirt's daemon begins a session, so that the realm is the same.
    begun = begun or library.sasl_server_new(
        application, None, None, None, None, None, 0, ctypes.byref(session)
    )
    if begun:
        return int(begun)
    if not password:
        return int(library.sasl_user_exists(session, application, None, user))
    return int(library.sasl_checkpass(session, user, len(user), password, len(password)))


def _library() -> "ctypes.CDLL | None":
    for name in NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


if __name__ == "__main__":
    print(main())
