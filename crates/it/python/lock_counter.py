"""Counts those who hold the lock, as a third process that the lock's makers can't fool.

A holder is connected here for as long as it holds: it says `+`, is counted, hears `ok`; it says `-`,
is taken off, hears `ok`, and only then lets the lock go. One that is killed is taken off by the end
of its connection.

argument: path of the Unix socket to listen on. Says `counting`, and at the end of its standard input
`most N of M`: the most holders at once, and how many there were."""

import socket
import sys
import threading

from common import say

guard = threading.Lock()
now = most = total = 0


def change(by):
    global now, most, total
    with guard:
        now += by
        most = max(most, now)
        total += by > 0


def serve(connection):
    holds = False
    with connection:
        while word := connection.recv(1):
            if (word == b"+") == holds:
                raise AssertionError(f"{word!r} from one who {'holds' if holds else 'does not hold'}")
            holds = not holds
            change(1 if holds else -1)
            connection.sendall(b"ok")
    if holds:
        change(-1)


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(16)


def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
say("counting")
sys.stdin.read()
say("most", most, "of", total)
