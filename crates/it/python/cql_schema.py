"""What the driver makes of the schema, and what one session's DDL does to another's."""

import time

from cassandra import AlreadyExists, InvalidRequest
from cassandra.protocol import SyntaxException
from common import cluster, expect, keyspace, refused, say


def soon(what, probe):
    deadline = time.time() + 20
    while not probe():
        if time.time() > deadline:
            raise AssertionError(f"not soon: {what}")
        time.sleep(0.05)


with cluster() as mine, cluster() as theirs:
    session, other = mine.connect(), theirs.connect()
    expect(session.cluster.protocol_version, 4, "what the driver settled on")
    host = mine.metadata.all_hosts()[0]
    expect(mine.metadata.partitioner, "org.apache.cassandra.dht.Murmur3Partitioner")
    assert mine.metadata.token_map is not None and mine.metadata.token_map.ring, "the driver knows the ring"
    assert host.host_id and host.datacenter and host.rack and host.release_version.startswith("5.0"), host.__dict__

    keyspace(session, "shop")
    session.execute("""
        CREATE TABLE orders (
            customer text, year int, placed timestamp, item uuid,
            total decimal, note text, paid boolean,
            PRIMARY KEY ((customer, year), placed, item)
        ) WITH CLUSTERING ORDER BY (placed DESC, item ASC) AND comment = 'what was sold'
          AND gc_grace_seconds = 4321""")
    session.execute('CREATE TABLE "Mixed" ("Id" int PRIMARY KEY, "select" text)')

    # DDL is in force for everyone before its answer; the event that tells the drivers follows.
    other.execute("INSERT INTO shop.orders (customer, year, placed, item, total) "
                  "VALUES ('a', 2026, '2026-01-01', 11111111-2222-4333-8444-555555555555, 9.50)")
    soon("the other driver hears of the keyspace", lambda: "shop" in theirs.metadata.keyspaces)
    soon("and of its tables", lambda: {"orders", "Mixed"} <= set(theirs.metadata.keyspaces["shop"].tables))

    for metadata in (mine.metadata, theirs.metadata):
        space = metadata.keyspaces["shop"]
        expect(space.replication_strategy.replication_factor, 1)
        expect(space.durable_writes, True)
        table = space.tables["orders"]
        expect([column.name for column in table.partition_key], ["customer", "year"])
        expect([column.name for column in table.clustering_key], ["placed", "item"])
        expect([table.columns[name].is_reversed for name in ("placed", "item")], [True, False])
        expect({name: column.cql_type for name, column in table.columns.items()},
               {"customer": "text", "year": "int", "placed": "timestamp", "item": "uuid",
                "total": "decimal", "note": "text", "paid": "boolean"})
        expect(table.options["comment"], "what was sold")
        expect(table.options["gc_grace_seconds"], 4321)
        assert table.is_cql_compatible
        text = table.export_as_string()
        assert "PRIMARY KEY ((customer, year), placed, item)" in text, text
        assert "CLUSTERING ORDER BY (placed DESC, item ASC)" in text, text
        assert '"Id" int' in space.tables["Mixed"].export_as_string()
        for name in ("system", "system_schema"):
            assert metadata.keyspaces[name].export_as_string(), name
        assert metadata.keyspaces["system_schema"].tables["columns"].columns["clustering_order"]

    # The exported text makes the same table again.
    session.execute("CREATE KEYSPACE copy WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    text = mine.metadata.keyspaces["shop"].tables["orders"].as_cql_query()
    session.execute(text.replace("shop.orders", "copy.orders"))
    soon("the copy is known", lambda: "orders" in mine.metadata.keyspaces["copy"].tables)
    expect(mine.metadata.keyspaces["copy"].tables["orders"].as_cql_query(), text.replace("shop.orders", "copy.orders"))

    # What exists already, what does not, what is no CQL.
    refused(lambda: session.execute("CREATE TABLE shop.orders (id int PRIMARY KEY)"), AlreadyExists, "orders")
    session.execute("CREATE TABLE IF NOT EXISTS shop.orders (id int PRIMARY KEY)")
    refused(lambda: session.execute("SELECT * FROM shop.nothing"), InvalidRequest, "nothing")
    refused(lambda: session.execute("SELECT * FROM nowhere.at_all"), InvalidRequest, "nowhere")
    refused(lambda: session.execute("SELECT missing FROM shop.orders"), InvalidRequest, "missing")
    refused(lambda: session.execute("SELEKT 1"), SyntaxException)
    refused(lambda: session.execute("SELECT * FROM system_schema.scylla_tables"), InvalidRequest)

    other.execute("DROP TABLE shop.orders")
    refused(lambda: session.execute("SELECT * FROM shop.orders"), InvalidRequest, "orders")
    soon("the drop is known", lambda: "orders" not in mine.metadata.keyspaces["shop"].tables)
    # A table made again is empty: the old one's rows do not come back.
    other.execute("CREATE TABLE shop.orders (customer text PRIMARY KEY)")
    expect(list(session.execute("SELECT * FROM shop.orders")), [])
    other.execute("DROP KEYSPACE shop")
    refused(lambda: session.execute("SELECT * FROM shop.orders"), InvalidRequest)
    soon("the drop of the keyspace is known", lambda: "shop" not in mine.metadata.keyspaces)
    say("done")
