"""Takes the lock /lock and lets it go, ROUNDS times, with one session."""

import random
import sys
import time

from common import say, zookeeper

zk = zookeeper()
lock = zk.Lock("/lock", "rounds")
for _ in range(int(sys.argv[1])):
    with lock:
        time.sleep(random.uniform(0, 0.004))
zk.stop()
say("done")
