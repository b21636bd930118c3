"""Every native type but counter goes in by literal and by prepared statement, and comes out equal."""

import datetime
import decimal
import math
import uuid

from cassandra.util import Date, Duration, Time
from common import cluster, expect, keyspace, say

# type, CQL literal, the same as a Python value, and what a SELECT gives
TIMEUUID = uuid.UUID("8d5ed678-fe57-11ed-be56-0242ac120002")
MOMENT = datetime.datetime(2026, 11, 24, 7, 30, 15, 123000)
VALUES = [
    ("ascii", "'plain'", "plain"),
    ("ascii", "''", ""),
    ("bigint", "-9223372036854775808", -(2**63)),
    ("bigint", "9223372036854775807", 2**63 - 1),
    ("blob", "0x00ff10", b"\x00\xff\x10"),
    ("blob", "0x", b""),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("date", "'2026-11-24'", Date("2026-11-24")),
    ("date", "'1815-12-10'", Date("1815-12-10")),
    ("decimal", "-12345678901234567890.123456789", decimal.Decimal("-12345678901234567890.123456789")),
    ("decimal", "1e-10", decimal.Decimal("1e-10")),
    ("double", "2.5e300", 2.5e300),
    ("double", "-0.1", -0.1),
    ("duration", "1y2mo3d4h5m6s", Duration(14, 3, ((4 * 60 + 5) * 60 + 6) * 10**9)),
    ("float", "1.5", 1.5),
    ("inet", "'192.0.2.7'", "192.0.2.7"),
    ("inet", "'2001:db8::1'", "2001:db8::1"),
    ("int", "-2147483648", -(2**31)),
    ("int", "2147483647", 2**31 - 1),
    ("smallint", "-32768", -32768),
    ("text", "'it''s Bär, 水, 🐻'", "it's Bär, 水, 🐻"),
    ("text", "$$a 'quoted' text$$", "a 'quoted' text"),
    ("time", "'13:14:15.123456789'", Time("13:14:15.123456789")),
    ("timestamp", "'2026-11-24 07:30:15.123+0000'", MOMENT),
    ("timestamp", str(int(MOMENT.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)), MOMENT),
    ("timeuuid", str(TIMEUUID), TIMEUUID),
    ("tinyint", "-128", -128),
    ("uuid", "11111111-2222-4333-8444-555555555555", uuid.UUID("11111111-2222-4333-8444-555555555555")),
    ("varchar", "'same as text'", "same as text"),
    ("varint", "-170141183460469231731687303715884105729", -(2**127) - 1),
    ("varint", "0", 0),
]

with cluster() as c:
    session = c.connect()
    keyspace(session, "types")
    for kind in sorted({kind for kind, _, _ in VALUES}):
        session.execute(f"CREATE TABLE of_{kind} (id int PRIMARY KEY, v {kind})")
    for at, (kind, literal, value) in enumerate(VALUES):
        insert = session.prepare(f"INSERT INTO of_{kind} (id, v) VALUES (?, ?)")
        select = session.prepare(f"SELECT v FROM of_{kind} WHERE id = ?")
        by_literal, by_value, by_text = 3 * at, 3 * at + 1, 3 * at + 2
        session.execute(f"INSERT INTO of_{kind} (id, v) VALUES ({by_literal}, {literal})")
        session.execute(insert, (by_value, value))
        for row in (by_literal, by_value):
            expect(session.execute(select, (row,)).one().v, value, f"{kind} {literal}")
        # Null: a value that is not there, and one that is taken away.
        session.execute(insert, (by_text, None))
        expect(session.execute(select, (by_text,)).one().v, None, f"{kind} null")
        session.execute(f"DELETE v FROM of_{kind} WHERE id = {by_value}")
        expect(session.execute(select, (by_value,)).one().v, None, f"{kind} deleted")
    say("native types:", len(VALUES))

    # What numbers can't be compared with `==`.
    session.execute("INSERT INTO of_double (id, v) VALUES (-1, NaN)")
    assert math.isnan(session.execute("SELECT v FROM of_double WHERE id = -1").one().v)
    session.execute("INSERT INTO of_double (id, v) VALUES (-2, -Infinity)")
    expect(session.execute("SELECT v FROM of_double WHERE id = -2").one().v, -math.inf)

    # Every type that may be a key is one, in a clustering column, in its order.
    order = {
        "int": [-5, -1, 0, 3, 2**31 - 1],
        "bigint": [-(2**63), -1, 0, 2**63 - 1],
        "varint": [-(2**70), -256, -1, 0, 127, 128, 2**70],
        "decimal": [decimal.Decimal(t) for t in ("-100.5", "-1", "0", "0.001", "1", "99999999999999999999")],
        "text": ["", "a", "aa", "b", "ä"],
        "double": [-math.inf, -1.5, 0.0, 1e-300, math.inf],
        "date": [Date("1815-12-10"), Date("1970-01-01"), Date("2026-11-24")],
        "timestamp": [datetime.datetime(1969, 1, 1), datetime.datetime(1970, 1, 1), MOMENT],
        "blob": [b"", b"\x00", b"\x00\x00", b"\x01", b"\xff"],
        "boolean": [False, True],
        "inet": ["10.0.0.1", "192.0.2.7"],
        "timeuuid": [uuid.UUID("8d5ed678-fe57-11ed-be56-0242ac120002"),
                     uuid.UUID("00000000-fe58-11ed-be56-0242ac120002")],
    }
    for kind, values in order.items():
        for direction, wanted in (("ASC", values), ("DESC", values[::-1])):
            name = f"by_{kind}_{direction.lower()}"
            session.execute(f"CREATE TABLE {name} (p int, c {kind}, v int, PRIMARY KEY (p, c)) "
                            f"WITH CLUSTERING ORDER BY (c {direction})")
            insert = session.prepare(f"INSERT INTO {name} (p, c, v) VALUES (1, ?, 0)")
            for value in values[1:] + values[:1]:
                session.execute(insert, (value,))
            got = [row.c for row in session.execute(f"SELECT c FROM {name} WHERE p = 1")]
            expect(got, wanted, f"order of {kind} {direction}")
            turned = [row.c for row in session.execute(
                f"SELECT c FROM {name} WHERE p = 1 ORDER BY c {'DESC' if direction == 'ASC' else 'ASC'}")]
            expect(turned, wanted[::-1], f"reversed order of {kind} {direction}")
    say("orders:", len(order))
