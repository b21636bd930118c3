"""For programs that hold many connections without a client library."""

import resource
import struct

# A request of ZooKeeper's to keep a session alive; it is answered with the same xid, -2.
PING = struct.pack(">Iii", 8, -2, 11)


def allow_many_connections():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise AssertionError(f"closed after {len(data)} of {length} bytes")
        data += part
    return data


def zookeeper_answer(connection):
    return exactly(connection, struct.unpack(">I", exactly(connection, 4))[0])
