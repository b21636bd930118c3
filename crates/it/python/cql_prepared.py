"""A prepared statement outlives the server: after a restart the driver is told UNPREPARED, prepares
again under the same id, and the program does not notice."""

import time

from cassandra import ConsistencyLevel
from cassandra.cluster import NoHostAvailable
from cassandra.policies import ConstantReconnectionPolicy
from common import cluster, expect, keyspace, say, wait_to_be_told

c = cluster(reconnection_policy=ConstantReconnectionPolicy(0.2))
session = c.connect()
keyspace(session, "prepared")
session.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
insert = session.prepare("INSERT INTO t (id, v) VALUES (?, ?)")
select = session.prepare("SELECT v FROM t WHERE id = :id")
insert.consistency_level = ConsistencyLevel.ONE
expect(session.prepare("SELECT v FROM t WHERE id = :id").query_id, select.query_id, "the same text, the same id")
session.execute(insert, (1, "before"))
expect(insert.routing_key_indexes, [0], "the driver can route by the key")
ids = insert.query_id, select.query_id

say("prepared")
wait_to_be_told("restarted")

deadline = time.time() + 60
while True:
    try:
        session.execute(insert, (2, "after"))
        break
    except NoHostAvailable:
        # The driver's own view of the host comes back when it has reconnected.
        if time.time() > deadline:
            raise
        time.sleep(0.1)
expect(session.execute(select, {"id": 1}).one().v, "before")
expect(session.execute(select, {"id": 2}).one().v, "after")
expect((session.prepare("INSERT INTO t (id, v) VALUES (?, ?)").query_id,
        session.prepare("SELECT v FROM t WHERE id = :id").query_id), ids, "ids over a restart")
c.shutdown()
say("done")
