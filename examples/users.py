from cassandra.cluster import Cluster
import uuid

cluster = Cluster(['127.0.0.1'])
session = cluster.connect()

session.execute("""
    CREATE KEYSPACE IF NOT EXISTS test
    WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}
""")
session.execute("""
    CREATE TABLE IF NOT EXISTS test.users (
        id uuid PRIMARY KEY,
        name text,
        age int
    )
""")

session.execute(
    "INSERT INTO test.users (id, name, age) VALUES (%s, %s, %s)",
    (uuid.uuid4(), 'Alice', 30)
)

rows = session.execute("SELECT * FROM test.users WHERE name = 'Alice'")
for row in rows:
    print(row.id, row.name, row.age)

cluster.shutdown()
