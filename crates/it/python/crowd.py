"""Many sessions of ZooKeeper, idle and then watching one znode.

argument: how many. Says `held` when all are there. Then a word on standard input at a time: `ping`
(every session twice, says `pinged`), `watch` (each sets a persistent watch on /hot, says `watching`),
`told N` (each has got the same N events of /hot, in order; says `told`)."""

import socket
import struct
import sys

from common import address, expect, say
from wire import PING, allow_many_connections, zookeeper_answer

count = int(sys.argv[1])
allow_many_connections()

CONNECT = struct.pack(">IIQIQI", 45, 0, 0, 40_000, 0, 16) + b"\x00" * 17
PATH = struct.pack(">I", 4) + b"/hot"
ADD_WATCH = struct.pack(">Iii", 20, 1, 106) + PATH + struct.pack(">i", 0)


def ask_all(request, beginning):
    for connection in sessions:
        connection.sendall(request)
    for connection in sessions:
        expect(zookeeper_answer(connection)[:4], beginning, "the xid of an answer")


sessions = []
for _ in range(count):
    connection = socket.create_connection(address("zookeeper"), timeout=60)
    connection.sendall(CONNECT)
    assert any(zookeeper_answer(connection)[8:16]), "a session id"
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
                answers = [zookeeper_answer(connection) for _ in range(int(number))]
                events = [struct.unpack(">iqiii", answer[:24]) for answer in answers]
                expect([event[0] for event in events], [-1] * len(events), "xids")
                expect(sorted(events), events, "events in the order of their zxids")
                expect({event[3] for event in events}, {3}, "kinds")
                told.add(tuple(event[1] for event in events))
            expect(len(told), 1, "histories")
            say("told")
