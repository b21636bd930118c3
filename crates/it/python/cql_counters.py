"""Clients that count by compare-and-set, all at once: the sum is exact.

arguments: CLIENTS INCREMENTS"""

import sys
import threading

from cassandra import ConsistencyLevel
from common import cluster, expect, keyspace, say

clients, increments = int(sys.argv[1]), int(sys.argv[2])
c = cluster()
session = c.connect()
keyspace(session, "counting")
session.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
session.execute("INSERT INTO t (id, n) VALUES (1, 0)")
read = session.prepare("SELECT n FROM t WHERE id = 1")
read.consistency_level = ConsistencyLevel.SERIAL
swap = session.prepare("UPDATE t SET n = ? WHERE id = 1 IF n = ?")
lost, failures = [0] * clients, []


def count(me):
    try:
        for _ in range(increments):
            known = session.execute(read).one().n
            while True:
                answer = session.execute(swap, (known + 1, known)).one()
                if answer.applied:
                    break
                lost[me] += 1
                known = answer.n
    except Exception as error:  # whatever it is, the test must hear of it
        failures.append(error)


threads = [threading.Thread(target=count, args=(me,)) for me in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    raise failures[0]
expect(session.execute(read).one().n, clients * increments, "increments that were acknowledged")
c.shutdown()
say("lost races:", sum(lost))
