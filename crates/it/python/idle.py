"""Opens many connections to every door, each with its handshake done, and holds them in silence.

argument: how many per door. Says `held`; at the end of its input asks on each, says `answered`."""

import socket
import struct
import sys

from common import address, expect, say
from wire import PING, allow_many_connections, exactly, zookeeper_answer

count = int(sys.argv[1])
allow_many_connections()


def connect(door):
    return socket.create_connection(address(door), timeout=30)


def cql_answer(connection):
    head = exactly(connection, 9)
    return head[4], exactly(connection, struct.unpack(">I", head[5:])[0])


STARTUP = b"\x04\x00\x00\x00\x01" + struct.pack(">I", 22) + b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
OPTIONS = b"\x04\x00\x00\x00\x05" + struct.pack(">I", 0)
CONNECT = struct.pack(">IIQIQI", 44, 0, 0, 40_000, 0, 16) + b"\x00" * 16

cql, zookeeper = [], []
for _ in range(count):
    connection = connect("cql")
    connection.sendall(STARTUP)
    expect(cql_answer(connection)[0], 2, "READY")
    cql.append(connection)
    connection = connect("zookeeper")
    connection.sendall(CONNECT)
    assert any(zookeeper_answer(connection)[8:16]), "a session id"
    zookeeper.append(connection)
say("held", len(cql) + len(zookeeper))
sys.stdin.read()
for connection in cql:
    connection.sendall(OPTIONS)
for connection in zookeeper:
    connection.sendall(PING)
for connection in cql:
    expect(cql_answer(connection)[0], 6, "SUPPORTED")
for connection in zookeeper:
    expect(zookeeper_answer(connection)[:4], b"\xff\xff\xff\xfe", "a ping's answer")
say("answered")
