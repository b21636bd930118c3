"""Conditional writes: IF NOT EXISTS, IF EXISTS, IF col = ..., and what `[applied]` tells."""

from cassandra import InvalidRequest
from common import cluster, expect, keyspace, refused, say

with cluster() as c:
    session = c.connect()
    keyspace(session, "conditions")
    session.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b text)")

    def run(text, *args):
        return session.execute(text, args or None)

    answer = run("INSERT INTO t (id, a, b) VALUES (1, 10, 'x') IF NOT EXISTS")
    expect(answer.was_applied, True)
    expect(answer.column_names, ["[applied]"])
    answer = run("INSERT INTO t (id, a, b) VALUES (1, 11, 'y') IF NOT EXISTS")
    expect(answer.was_applied, False)
    row = answer.one()
    expect((row.id, row.a, row.b), (1, 10, "x"), "the row that was there")

    answer = run("UPDATE t SET a = 12 WHERE id = 1 IF a = 10")
    expect(answer.was_applied, True)
    answer = run("UPDATE t SET a = 13 WHERE id = 1 IF a = 10")
    expect((answer.was_applied, answer.one().a), (False, 12))
    answer = run("UPDATE t SET a = 13 WHERE id = 1 IF a = 12 AND b = 'z'")
    expect((answer.was_applied, answer.one().b), (False, "x"))
    for condition, holds in [("a > 11", True), ("a < 12", False), ("a >= 12", True), ("a <= 11", False),
                             ("a != 12", False), ("a IN (1, 12)", True), ("b = null", False), ("b != null", True)]:
        expect(run(f"UPDATE t SET b = 'x' WHERE id = 1 IF {condition}").was_applied, holds, condition)

    expect(run("UPDATE t SET a = 1 WHERE id = 2 IF EXISTS").was_applied, False)
    expect(run("SELECT * FROM t WHERE id = 2").one(), None, "nothing was made")
    expect(run("UPDATE t SET a = 1 WHERE id = 2 IF a = null").was_applied, True, "a row that is not there has nulls")
    expect(run("DELETE FROM t WHERE id = 2 IF a = 7").was_applied, False)
    expect(run("DELETE FROM t WHERE id = 2 IF EXISTS").was_applied, True)
    expect(run("DELETE FROM t WHERE id = 2 IF EXISTS").was_applied, False)

    # Prepared, with the condition's value bound.
    swap = session.prepare("UPDATE t SET a = ? WHERE id = ? IF a = ?")
    expect(session.execute(swap, (20, 1, 12)).was_applied, True)
    expect(session.execute(swap, (21, 1, 12)).was_applied, False)

    # A client's own timestamp and a condition contradict each other.
    refused(lambda: run("UPDATE t USING TIMESTAMP 5 SET a = 1 WHERE id = 1 IF a = 20"), InvalidRequest)
    refused(lambda: run("UPDATE t SET a = 1 WHERE id = 1 IF nope = 20"), InvalidRequest)
    say("done")
