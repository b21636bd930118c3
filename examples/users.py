from cassandra.cluster import Cluster

cluster = Cluster(['127.0.0.1'])
session = cluster.connect()

session.execute("""
    CREATE KEYSPACE IF NOT EXISTS test
    WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}
""")
session.execute("CREATE TABLE IF NOT EXISTS test.users (id UUID PRIMARY KEY, name TEXT, age INT)")

session.execute("INSERT INTO test.users (id, name, age) VALUES (uuid(), 'Alice', 30)")

for row in session.execute("SELECT * FROM test.users WHERE name = 'Alice'"):
    print(row.id, row.name, row.age)

cluster.shutdown()
