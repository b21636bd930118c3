"""Many sessions of ZooKeeper, idle and then watching one znode.

argument: how many. Says `held` when all are there. Then a word on standard input at a time: `ping`
(every session twice, says `pinged`), `watch` (each sets a persistent watch on /hot, says `watching`),
`told N` (each has got the same N events of /hot, in order; says `told`)."""

import resource
import socket
import struct
import sys

from common import address, expect, say

count = int(sys.argv[1])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

CONNECT = struct.pack(">IIQIQI", 45, 0, 0, 40_000, 0, 16) + b"\x00" * 17
PING = struct.pack(">Iii", 8, -2, 11)
PATH = struct.pack(">I", 4) + b"/hot"
ADD_WATCH = struct.pack(">Iii", 20, 1, 106) + PATH + struct.pack(">i", 0)


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise AssertionError(f"closed after {len(data)} of {length} bytes")
        data += part
    return data


def answer(connection):
    return exactly(connection, struct.unpack(">I", exactly(connection, 4))[0])


def ask_all(request, beginning):
    for connection in sessions:
        connection.sendall(request)
    for connection in sessions:
        expect(answer(connection)[:4], beginning, "the xid of an answer")


sessions = []
for _ in range(count):
    connection = socket.create_connection(address("zookeeper"), timeout=60)
    connection.sendall(CONNECT)
    assert any(answer(connection)[8:16]), "a session id"
    sessions.append(connection)
say("held")
for line in sys.stdin:
    match line.split():
        case ["ping"]:
            ask_all(PING, struct.pack(">i", -2))
            ask_all(PING, struct.pack(">i", -2))
            say("pinged")
        case ["watch"]:
            ask_all(ADD_WATCH, struct.pack(">i", 1))
            say("watching")
        case ["told", number]:
            told = set()
            for connection in sessions:
                events = [struct.unpack(">iqiii", answer(connection)[:24]) for _ in range(int(number))]
                expect([event[0] for event in events], [-1] * len(events), "xids")
                expect(sorted(events), events, "events in the order of their zxids")
                expect({event[3] for event in events}, {3}, "kinds")
                told.add(tuple(event[1] for event in events))
            expect(len(told), 1, "histories")
            say("told")
