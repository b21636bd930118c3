"""Replication factor 3 on one node: kept, warned about, and counted truthfully."""

from cassandra import ConsistencyLevel as Level
from cassandra import Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.query import SimpleStatement
from common import cluster, expect, say

with cluster() as c:
    session = c.connect()
    future = session.execute_async(
        "CREATE KEYSPACE three WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    future.result()
    expect(future.warnings, ["Your replication factor 3 for keyspace three is higher than the number of nodes 1"])
    session.execute("CREATE KEYSPACE one WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    for space in ("three", "one"):
        session.execute(f"CREATE TABLE {space}.t (id int PRIMARY KEY, v text)")
    expect(c.metadata.keyspaces["three"].replication_strategy.replication_factor, 3, "what the catalog keeps")

    def run(text, level):
        return session.execute(SimpleStatement(text, consistency_level=level))

    def unavailable(text, level, required):
        try:
            run(text, level)
        except Unavailable as error:
            told = error
        except NoHostAvailable as error:
            # The driver tried the next host, of which there is none; the one it has told this.
            told = list(error.errors.values())[0]
        else:
            raise AssertionError(f"{text} at {Level.value_to_name[level]} is not refused")
        told = getattr(told, "info", None) or {"required_replicas": told.required_replicas,
                                               "alive_replicas": told.alive_replicas}
        expect((told["required_replicas"], told["alive_replicas"]), (required, 1), f"{text} at {level}")

    write, read = "INSERT INTO three.t (id, v) VALUES (1, 'x')", "SELECT v FROM three.t WHERE id = 1"
    for level in (Level.ONE, Level.LOCAL_ONE, Level.ANY):
        run(write, level)
    for level in (Level.ONE, Level.LOCAL_ONE):
        expect(run(read, level).one().v, "x")
    for text in (write, read):
        unavailable(text, Level.TWO, 2)
        unavailable(text, Level.QUORUM, 2)
        unavailable(text, Level.LOCAL_QUORUM, 2)
        unavailable(text, Level.THREE, 3)
        unavailable(text, Level.ALL, 3)
    # A conditional write needs a majority of the replicas, too.
    unavailable("INSERT INTO three.t (id, v) VALUES (2, 'x') IF NOT EXISTS", Level.ONE, 2)
    unavailable(read, Level.SERIAL, 2)
    expect(run("SELECT v FROM three.t WHERE id = 2", Level.ONE).one(), None, "what was refused left nothing")

    for level in (Level.ONE, Level.QUORUM, Level.LOCAL_QUORUM, Level.ALL, Level.EACH_QUORUM):
        run("INSERT INTO one.t (id, v) VALUES (1, 'x')", level)
    for level in (Level.ONE, Level.QUORUM, Level.ALL, Level.SERIAL, Level.LOCAL_SERIAL):
        expect(run("SELECT v FROM one.t WHERE id = 1", level).one().v, "x")
    say("done")
