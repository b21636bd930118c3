"""Takes the lock /lock, says `holding`, and holds it until it is killed or its input ends.

arguments: the session timeout in seconds, and a name"""

import sys

from common import say, zookeeper

zk = zookeeper(timeout=float(sys.argv[1]))
say("waiting")
lock = zk.Lock("/lock", sys.argv[2])
lock.acquire()
zk.exists("/lock")  # heard by the server just before the test hears of it
say("holding")
sys.stdin.read()
lock.release()
zk.stop()
