"""A SELECT that Cassandra would refuse, under each rule.

argument: strict | bounded | over-budget | permissive"""

import sys

from cassandra import InvalidRequest
from cassandra.query import SimpleStatement
from common import cluster, expect, keyspace, refused, say

CASSANDRA_SAYS = ("Cannot execute this query as it might involve data filtering and thus may have "
                  "unpredictable performance. If you want to execute this query despite the "
                  "performance unpredictability, use ALLOW FILTERING")
rule = sys.argv[1]


def warnings_of(session, statement):
    future = session.execute_async(statement)
    rows = future.result()
    return list(rows), future.warnings or []


with cluster() as c:
    session = c.connect()
    keyspace(session, "filtering")
    session.execute("CREATE TABLE users (id int PRIMARY KEY, name text, age int)")
    insert = session.prepare("INSERT INTO users (id, name, age) VALUES (?, ?, ?)")
    for n in range(200):
        session.execute(insert, (n, "Alice" if n % 50 == 7 else "Bob", n))
    wanted = {7, 57, 107, 157}
    query = "SELECT id FROM users WHERE name = 'Alice'"

    # Told to go on, it goes on under every rule but a budget's, and without a warning.
    if rule != "over-budget":
        rows, warnings = warnings_of(session, query + " ALLOW FILTERING")
        expect({row.id for row in rows}, wanted)
        expect(warnings, [], "warnings with ALLOW FILTERING")

    if rule in ("strict", "over-budget"):
        refused(lambda: session.execute(query), InvalidRequest, CASSANDRA_SAYS)
        if rule == "over-budget":
            # Never part of the rows: not even the first page of many.
            refused(lambda: session.execute(SimpleStatement(query, fetch_size=1)), InvalidRequest, CASSANDRA_SAYS)
    elif rule == "bounded":
        rows, warnings = warnings_of(session, query)
        expect({row.id for row in rows}, wanted)
        expect(len(warnings), 1, "warnings")
        assert "Cassandra would refuse" in warnings[0] and "ALLOW FILTERING" in warnings[0], warnings
        say("warning:", warnings[0])
        rows, warnings = warnings_of(session, SimpleStatement(query, fetch_size=2))
        expect({row.id for row in rows}, wanted, "by small pages")
        rows, _ = warnings_of(session, "SELECT id FROM users WHERE name = 'Alice' AND age > 100")
        expect({row.id for row in rows}, {107, 157})
        rows, _ = warnings_of(session, "SELECT id FROM users WHERE name = 'Nobody'")
        expect(rows, [])
        rows, _ = warnings_of(session, session.prepare("SELECT id FROM users WHERE name = ?").bind(("Alice",)))
        expect({row.id for row in rows}, wanted, "prepared")
    elif rule == "permissive":
        rows, _ = warnings_of(session, query)
        expect({row.id for row in rows}, wanted)
    # A query by key is nobody's business.
    _, warnings = warnings_of(session, "SELECT * FROM users WHERE id = 7")
    expect(warnings, [])
    say("done")
