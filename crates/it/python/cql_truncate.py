"""TRUNCATE empties a table under prepared statements that go on working, also while others write, and
the schema is as it was."""

import threading

from cassandra import InvalidRequest
from common import cluster, expect, keyspace, say

ROWS = 200

c = cluster()
session = c.connect()
keyspace(session, "emptied")
session.execute("CREATE TABLE t (id int, c int, v text, PRIMARY KEY (id, c))")
insert = session.prepare("INSERT INTO t (id, c, v) VALUES (?, ?, ?)")
create = session.prepare("INSERT INTO t (id, c, v) VALUES (?, ?, ?) IF NOT EXISTS")
select = session.prepare("SELECT v FROM t WHERE id = ? AND c = ?")
count = session.prepare("SELECT count(*) FROM t")
truncate = session.prepare("TRUNCATE TABLE t")
version = session.execute("SELECT schema_version FROM system.local").one()[0]


def rows():
    return session.execute(count).one()[0]


for emptying in ("TRUNCATE emptied.t", truncate):
    for i in range(ROWS):
        session.execute(insert, (i, i, "old"))
    expect(session.execute(create, (0, 0, "older")).was_applied, False)
    expect(rows(), ROWS)
    expect(session.execute(emptying).one(), None)
    expect(rows(), 0)
    expect(session.execute(select, (1, 1)).one(), None)
    expect(session.execute(create, (0, 0, "new")).was_applied, True)
    session.execute(insert, (1, 1, "new"))
    expect(session.execute(select, (1, 1)).one().v, "new")
    expect(rows(), 2)

# The next page of what was emptied is empty, and no error.
page = session.prepare("SELECT id FROM t")
page.fetch_size = 1
result = session.execute(page)
expect(len(result.current_rows), 1)
session.execute(truncate)
result.fetch_next_page()
expect(result.current_rows, [])

# Writers notice nothing.
failures = []
stop = threading.Event()


def write(first):
    i = 0
    try:
        while not stop.is_set():
            session.execute(insert, (first, i, "during"))
            session.execute(create, (-first, i, "during"))
            session.execute(count)
            i += 1
    except Exception as error:  # pylint: disable=broad-except
        failures.append(error)


threads = [threading.Thread(target=write, args=(n + 1,)) for n in range(4)]
for thread in threads:
    thread.start()
for _ in range(20):
    session.execute(truncate)
stop.set()
for thread in threads:
    thread.join()
expect(failures, [])
session.execute(truncate)
expect(rows(), 0)

for text in ("TRUNCATE nothing", "TRUNCATE nowhere.t", "TRUNCATE system_virtual_schema.tables"):
    try:
        session.execute(text)
        raise AssertionError(text)
    except InvalidRequest:
        pass

expect(session.execute("SELECT schema_version FROM system.local").one()[0], version, "the schema is as it was")
c.shutdown()
say("done")
