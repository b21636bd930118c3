"""A lock that is safe even when its holder stops for longer than its session lives.

A lock made of sessions is a promise that time can break: a holder that is paused (a long garbage
collection, a suspended laptop, SIGSTOP) wakes up after the lock has passed on, and does not know.
What it writes then must be refused by the store, which can only be done if the write carries
something that grew when the lock passed on: a fencing token. Here that is the czxid of the holder's
lock node, the number of the ZooKeeper transaction that made it: the next holder's is larger. The
conditional write `IF fence < ?` lets a token in once, and never an older one after it.

    python examples/fencing.py --name alice --work 30     # in one terminal; stop it with Ctrl-Z ...
    python examples/fencing.py --name bob                 # ... and run this in another, then `fg`
"""

import argparse
import time

from cassandra.cluster import Cluster
from kazoo.client import KazooClient

parser = argparse.ArgumentParser(description="Writes one value under a fenced lock.")
parser.add_argument("--name", default="alice", help="who is writing")
parser.add_argument("--work", type=float, default=0, help="seconds between taking the lock and writing")
parser.add_argument("--session", type=float, default=10, help="session timeout in seconds")
parser.add_argument("--cql", default="127.0.0.1:9042", help="address of the cql door")
parser.add_argument("--zookeeper", default="127.0.0.1:2181", help="address of the zookeeper door")
args = parser.parse_args()

host, port = args.cql.rsplit(":", 1)
cluster = Cluster([host], port=int(port))
session = cluster.connect()
session.execute("CREATE KEYSPACE IF NOT EXISTS fenced "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
session.execute("CREATE TABLE IF NOT EXISTS fenced.jobs (id text PRIMARY KEY, fence bigint, writer text)")
session.execute("INSERT INTO fenced.jobs (id, fence, writer) VALUES ('nightly', 0, 'nobody') IF NOT EXISTS")
write = session.prepare("UPDATE fenced.jobs SET fence = ?, writer = ? WHERE id = 'nightly' IF fence < ?")

zk = KazooClient(hosts=args.zookeeper, timeout=args.session)
zk.start()
lock = zk.Lock("/fenced-job", args.name)
lock.acquire()
token = zk.exists(lock.path + "/" + lock.node).czxid
print(f"{args.name} holds the lock, token {token}", flush=True)

time.sleep(args.work)

answer = session.execute(write, (token, args.name, token)).one()
if answer.applied:
    print(f"{args.name} wrote with token {token}", flush=True)
else:
    print(f"{args.name} is refused: token {token} is older than {answer.fence}", flush=True)

cluster.shutdown()
zk.stop()  # ends the session, and the lock node with it
