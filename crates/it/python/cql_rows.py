"""Rows as Cassandra understands them: time stamps decide, values expire, unset is not null, slices
follow the clustering order, and a refused statement changes nothing."""

import time

from cassandra import InvalidRequest
from cassandra.query import UNSET_VALUE
from common import cluster, expect, keyspace, refused, say

with cluster() as c:
    session = c.connect()
    keyspace(session, "rows")
    session.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b text)")

    def run(text, *values):
        return list(session.execute(text, values or None))

    def row(id):
        found = run("SELECT a, b FROM t WHERE id = %s", id)
        return tuple(found[0]) if found else None

    # The larger timestamp wins, cell by cell, in whatever order writes arrive.
    run("INSERT INTO t (id, a, b) VALUES (1, 10, 'ten') USING TIMESTAMP 1000")
    run("UPDATE t USING TIMESTAMP 900 SET a = 9 WHERE id = 1")
    expect(row(1), (10, "ten"), "an older write loses")
    run("UPDATE t USING TIMESTAMP 1100 SET a = 11 WHERE id = 1")
    expect(row(1), (11, "ten"), "a newer one wins, for its own cell")
    run("DELETE a FROM t USING TIMESTAMP 1050 WHERE id = 1")
    expect(row(1), (11, "ten"), "an older delete loses")
    run("DELETE FROM t USING TIMESTAMP 1100 WHERE id = 1")
    expect(row(1), None, "at the same time a delete wins")
    run("INSERT INTO t (id, a) VALUES (1, 1) USING TIMESTAMP 1100")
    expect(row(1), None, "and keeps winning")
    run("INSERT INTO t (id, a) VALUES (1, 2) USING TIMESTAMP 1101")
    expect(row(1), (2, None))
    # Two writes of one time: the larger value, on every replica alike.
    for first, second in ((3, 4), (4, 3)):
        run("INSERT INTO t (id, a) VALUES (%s, %s) USING TIMESTAMP 5000", 100 + first, first)
        run("INSERT INTO t (id, a) VALUES (%s, %s) USING TIMESTAMP 5000", 100 + first, second)
        expect(row(100 + first), (4, None), "the tie goes to the larger value")

    # A row made by INSERT is there without values; one made by UPDATE only as long as it has some.
    run("INSERT INTO t (id) VALUES (2)")
    expect(row(2), (None, None))
    run("UPDATE t SET a = 1 WHERE id = 3")
    run("UPDATE t SET a = null WHERE id = 3")
    expect(row(3), None, "an updated row without values")
    run("INSERT INTO t (id, a) VALUES (2, 1)")
    run("DELETE a FROM t WHERE id = 2")
    expect(row(2), (None, None), "an inserted row without values")

    # Unset leaves alone, null takes away.
    insert = session.prepare("INSERT INTO t (id, a, b) VALUES (?, ?, ?)")
    session.execute(insert, (4, 1, "one"))
    session.execute(insert, (4, UNSET_VALUE, "two"))
    expect(row(4), (1, "two"))
    session.execute(insert, (4, None, UNSET_VALUE))
    expect(row(4), (None, "two"))
    refused(lambda: session.execute(insert, (None, 1, "x")), InvalidRequest)

    # Values expire, each for itself; a row goes with its last one.
    run("INSERT INTO t (id, a, b) VALUES (5, 1, 'stays a while')")
    run("UPDATE t USING TTL 1 SET a = 2 WHERE id = 5")
    run("INSERT INTO t (id, a) VALUES (6, 1) USING TTL 1")
    expect((row(5), row(6)), ((2, "stays a while"), (1, None)), "before they expire")
    time.sleep(2.1)
    expect((row(5), row(6)), ((None, "stays a while"), None), "after")
    refused(lambda: run("INSERT INTO t (id, a) VALUES (7, 1) USING TTL -1"), InvalidRequest)

    # Slices and IN find rows in clustering order.
    session.execute("CREATE TABLE s (p text, q int, c int, d text, v int, PRIMARY KEY ((p, q), c, d))")
    for n in range(6):
        run("INSERT INTO s (p, q, c, d, v) VALUES ('x', 1, %s, %s, %s)", n // 2, "ab"[n % 2], n)

    def found(where):
        return [(r.c, r.d, r.v) for r in run("SELECT * FROM s WHERE p = 'x' AND q = 1 " + where)]

    everything = [(0, "a", 0), (0, "b", 1), (1, "a", 2), (1, "b", 3), (2, "a", 4), (2, "b", 5)]
    expect(found(""), everything)
    expect(found("ORDER BY c DESC, d DESC"), everything[::-1])
    expect(found("AND c = 1"), everything[2:4])
    expect(found("AND c = 1 AND d > 'a'"), everything[3:4])
    expect(found("AND c >= 1 AND c < 2"), everything[2:4])
    expect(found("AND c IN (2, 0)"), everything[:2] + everything[4:])
    expect(found("AND (c, d) > (0, 'b') AND (c, d) <= (2, 'a')"), everything[2:5])
    expect(found("LIMIT 3"), everything[:3])
    expect([r.v for r in run("SELECT v FROM s WHERE p IN ('x', 'z') AND q = 1 AND c = 0 AND d = 'b'")], [1])
    run("DELETE FROM s WHERE p = 'x' AND q = 1 AND c = 0")
    run("DELETE FROM s WHERE p = 'x' AND q = 1 AND c = 2 AND d = 'a'")
    expect(found(""), [everything[at] for at in (2, 3, 5)])
    run("DELETE FROM s WHERE p = 'x' AND q = 1")
    expect(run("SELECT * FROM s WHERE p = 'x' AND q = 1"), [], "the whole partition")

    # token() walks the ring: every partition once.
    everyone = {r.id for r in run("SELECT id FROM t")}
    middle = 0
    low = {r.id for r in run("SELECT id FROM t WHERE token(id) <= %s", middle)}
    high = {r.id for r in run("SELECT id FROM t WHERE token(id) > %s", middle)}
    expect((low | high, low & high), (everyone, set()))
    for id, token in run("SELECT id, token(id) FROM t"):
        expect(token, c.metadata.token_map.token_class.from_key(id.to_bytes(4, "big", signed=True)).value,
               "the server's token and the driver's")

    # Statements that make no sense are refused, and nothing of them happens.
    for text in ("INSERT INTO t (a) VALUES (1)", "INSERT INTO t (id, nope) VALUES (1, 1)",
                 "INSERT INTO t (id, a) VALUES (8, 'text')", "UPDATE t SET id = 2 WHERE id = 1",
                 "UPDATE t SET a = 1 WHERE a = 2", "DELETE FROM t WHERE a = 1", "SELECT * FROM t ORDER BY id"):
        refused(lambda text=text: run(text), InvalidRequest)
    expect(row(8), None)
    say("done")
