"""A session's life, told to the test line by line.

argument: the session timeout in seconds. On standard input:
`ephemeral PATH`   makes a node of the session
`exists PATH`      says `there` or `absent`
`get PATH`         says the data
`put PATH DATA`    makes or changes a node
`watch PATH`       says `event TYPE` when it changes
`session`          says the session's id
`quit`"""

import sys
import time

from kazoo.exceptions import ConnectionLoss, SessionExpiredError
from kazoo.protocol.states import KazooState
from common import say, zookeeper

zk = zookeeper(timeout=float(sys.argv[1]),
               connection_retry={"max_tries": -1, "delay": 0.1, "backoff": 1, "max_jitter": 0.05})


def state_changed(state):
    if state == KazooState.LOST:
        say("lost")


def retried(call):
    """What was asked while the connection was down is asked again; the caller's requests may be."""
    deadline = time.time() + 60
    while True:
        try:
            return call()
        except (ConnectionLoss, SessionExpiredError):
            if time.time() > deadline:
                raise
            time.sleep(0.1)


zk.add_listener(state_changed)
say("session", zk.client_id[0])
for line in sys.stdin:
    verb, *words = line.split()
    if verb == "quit":
        break
    if verb == "ephemeral":
        retried(lambda: zk.create(words[0], b"", ephemeral=True))
        say("made")
    elif verb == "exists":
        say("there" if retried(lambda: zk.exists(words[0])) else "absent")
    elif verb == "get":
        say("data", retried(lambda: zk.get(words[0]))[0].decode())
    elif verb == "put":
        retried(lambda: zk.set(words[0], words[1].encode()) if zk.exists(words[0])
                else zk.create(words[0], words[1].encode()))
        say("put")
    elif verb == "watch":
        retried(lambda: zk.exists(words[0], watch=lambda event: say("event", event.type)))
        say("watching")
    elif verb == "session":
        retried(lambda: zk.exists("/"))
        say("session", zk.client_id[0])
zk.stop()
