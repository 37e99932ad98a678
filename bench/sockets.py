"""Thousands of connections from one machine, for `idle` and `cache`."""

import socket
import struct

# One address gives a client some 28,000 ports.
PORTS_OF_ADDRESS = 20_000
IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


def connect(port, index):
    """The connection of this number."""
    connection = socket.socket()
    connection.settimeout(10)
    connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    # Closed by a reset: thousands of ports in TIME_WAIT would be missing in the next measurement.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.bind((f"127.0.0.{2 + index // PORTS_OF_ADDRESS}", 0))
    connection.connect(("127.0.0.1", port))
    return connection


def read_whole(connection, length):
    """A 200 with a body of `length` bytes, or an error."""
    got = b""
    while b"\r\n\r\n" not in got or len(got.partition(b"\r\n\r\n")[2]) < length:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed before its response was whole")
        got += piece
    if not got.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(got.split(b"\r\n", 1)[0].decode(errors="replace"))
