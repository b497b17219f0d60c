"""As much of a VNC viewer as it takes to be let in, or not: RFC 6143, section 7.1 and 7.2.

With TLS by VeNCrypt, a security type of the community's extensions of it:
https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst
"""

import socket
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, modes

try:
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
except ImportError:  # before cryptography 43
    from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES

NONE, PASSWORD, VENCRYPT = 1, 2, 19
VERSION = bytes([0, 2])
X509_PASSWORD = 261


def security(port):
    """Return the ways to log in that a server offers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as server:
        return _offered(server)


def lets_in(port, password):
    """Tell whether a server that asks for a password takes this one."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as server:
        assert _offered(server) == [PASSWORD]
        server.sendall(bytes([PASSWORD]))
        return _takes(server, password)


def lets_in_by_tls(server, password, context):
    """Tell whether a server that is spoken to by TLS only takes a password."""
    assert _offered(server) == [VENCRYPT]
    server.sendall(bytes([VENCRYPT]))
    assert _receive(server, 2) == VERSION
    server.sendall(VERSION)
    assert _receive(server, 1) == b"\0"
    kinds = struct.unpack(">BI", _receive(server, 5))
    assert kinds == (1, X509_PASSWORD)
    server.sendall(struct.pack(">I", X509_PASSWORD))
    assert _receive(server, 1) == b"\1"
    with context.wrap_socket(server, server_hostname="localhost") as secured:
        return _takes(secured, password)


def _takes(server, password):
    server.sendall(_encrypted(_receive(server, 16), password))
    return struct.unpack(">I", _receive(server, 4))[0] == 0


def _offered(server):
    assert _receive(server, 12) == b"RFB 003.008\n"
    server.sendall(b"RFB 003.008\n")
    return list(_receive(server, _receive(server, 1)[0]))


def _encrypted(challenge, password):
    """DES is triple DES with one key; VNC has the bits of each byte of it the other way round."""
    padded = password.encode().ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in padded)
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _receive(server, length):
    data = b""
    while len(data) < length:
        more = server.recv(length - len(data))
        assert more, f"the server hung up after {data!r}"
        data += more
    return data
