"""As much of a SPICE viewer as it takes to be let in, or not.

https://www.spice-space.org/spice-protocol.html: a link message, and a ticket that is encrypted with
the key of the server's reply.
"""

import socket
import struct

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_der_public_key

MAGIC, VERSION = b"REDQ", (2, 2)
HEADER = struct.Struct("<4s3I")
# Connection 0, the main channel, no capabilities.
LINK = struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18)
KEY_LENGTH = 162
OK, DENIED = 0, 7


def lets_in(port, password):
    """Tell whether a server takes this ticket."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as server:
        return takes(server, password)


def takes(server, password):
    """Tell whether a server takes this ticket on an open connection."""
    file = server.makefile("rb")
    server.sendall(HEADER.pack(MAGIC, *VERSION, len(LINK)) + LINK)
    magic, major, _minor, length = HEADER.unpack(file.read(HEADER.size))
    assert (magic, major) == (MAGIC, 2)
    reply = file.read(length)
    assert struct.unpack_from("<I", reply)[0] == OK
    key = load_der_public_key(reply[4 : 4 + KEY_LENGTH])
    ticket = password.encode() + b"\0"
    server.sendall(key.encrypt(ticket, padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)))
    told = struct.unpack("<I", file.read(4))[0]
    assert told in (OK, DENIED), told
    return told == OK
