"""More rows than one page: a scan of everything and a long partition come back whole, in order."""

from cassandra.query import SimpleStatement
from cassandra.concurrent import execute_concurrent_with_args
from common import cluster, expect, keyspace, say

ROWS = 5_300

with cluster() as c:
    session = c.connect()
    keyspace(session, "paging")
    session.execute("CREATE TABLE many (id int PRIMARY KEY, v text)")
    session.execute("CREATE TABLE long (p int, c int, v text, PRIMARY KEY (p, c))")
    many = session.prepare("INSERT INTO many (id, v) VALUES (?, ?)")
    long = session.prepare("INSERT INTO long (p, c, v) VALUES (?, ?, ?)")
    execute_concurrent_with_args(session, many, [(n, f"v{n}") for n in range(ROWS)], concurrency=100)
    execute_concurrent_with_args(session, long, [(n % 2, n, f"v{n}") for n in range(ROWS)], concurrency=100)
    say("written", 2 * ROWS)

    # The driver's own page of 5,000 rows: two pages. Every row once.
    rows = session.execute("SELECT id, v FROM many")
    assert rows.has_more_pages
    expect(sorted(rows), [(n, f"v{n}") for n in range(ROWS)], "scan by pages of 5,000")

    # A page size that divides nothing evenly.
    for size in (1_000, 777):
        rows = session.execute(SimpleStatement("SELECT id FROM many", fetch_size=size))
        expect(len(rows.current_rows), size, "rows of the first page")
        expect(sorted(row.id for row in rows), list(range(ROWS)), f"scan by pages of {size}")

    # A paging state goes on in another session, later.
    first = session.execute(SimpleStatement("SELECT id FROM many", fetch_size=3_000))
    state, seen = first.paging_state, [row.id for row in first.current_rows]
    other = c.connect("paging")
    rest = other.execute(SimpleStatement("SELECT id FROM many", fetch_size=3_000), paging_state=state)
    expect(sorted(seen + [row.id for row in rest]), list(range(ROWS)), "resumed elsewhere")

    # Inside one partition, in clustering order, both ways, and with a limit across pages.
    odd = list(range(1, ROWS, 2))
    text = "SELECT c FROM long WHERE p = 1"
    for suffix, wanted in (("", odd), (" ORDER BY c DESC", odd[::-1]), (" LIMIT 2500", odd[:2_500])):
        rows = session.execute(SimpleStatement(text + suffix, fetch_size=400))
        expect([row.c for row in rows], wanted, text + suffix)
    rows = session.execute(SimpleStatement("SELECT c FROM long WHERE p = 1 AND c > 100 AND c <= 4001", fetch_size=300))
    expect([row.c for row in rows], [n for n in odd if 100 < n <= 4_001], "a slice")

    # Rows that are deleted between two pages do not disturb the rest.
    rows = session.execute(SimpleStatement(text, fetch_size=500))
    session.execute("DELETE FROM long WHERE p = 1 AND c = 1001")
    session.execute("DELETE FROM long WHERE p = 1 AND c = 4001")
    expect([row.c for row in rows], [n for n in odd if n not in (1_001, 4_001)], "with deletes between pages")

    select = session.prepare("SELECT id FROM many")
    select.fetch_size = 999
    expect(sorted(row.id for row in session.execute(select)), list(range(ROWS)), "prepared")
    say("read")
