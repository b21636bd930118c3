"""kazoo's client, operation by operation: what it returns, what it raises, what it is told."""

import threading

from kazoo.client import KazooClient
from kazoo.exceptions import (BadArgumentsError, BadVersionError, NoChildrenForEphemeralsError, NodeExistsError,
                              NoNodeError, NotEmptyError, RolledBackError, RuntimeInconsistency)
from kazoo.protocol.states import EventType
from common import address, expect, refused, say, zookeeper

zk, other = zookeeper(), zookeeper()
assert zk.client_id[0] != other.client_id[0]
expect(zk.command(b"ruok"), "imok")

# What is there from the start.
expect(sorted(zk.get_children("/")), ["zookeeper"])
expect(sorted(zk.get_children("/zookeeper")), ["config", "quota"])

# Create, read, change, delete; every field of the Stat.
expect(zk.create("/a", b"one"), "/a")
data, stat = zk.get("/a")
expect((data, stat.version, stat.cversion, stat.aversion, stat.ephemeralOwner, stat.dataLength, stat.numChildren),
       (b"one", 0, 0, 0, 0, 3, 0))
expect((stat.mzxid, stat.pzxid), (stat.czxid, stat.czxid))
changed = zk.set("/a", b"two!")
expect((changed.version, changed.czxid, changed.dataLength, changed.ctime), (1, stat.czxid, 4, stat.ctime))
assert changed.mzxid > stat.mzxid and changed.pzxid == stat.pzxid
expect(other.get("/a")[0], b"two!")
path, made = zk.create("/a/child", b"", include_data=True)
expect((path, made.czxid > changed.mzxid, made.numChildren), ("/a/child", True, 0))
parent = zk.exists("/a")
expect((parent.cversion, parent.pzxid, parent.numChildren, parent.version), (1, made.czxid, 1, 1))
names, listed = zk.get_children("/a", include_data=True)
expect((names, listed), (["child"], parent))
expect(zk.exists("/nothing"), None)

refused(lambda: zk.create("/a"), NodeExistsError)
refused(lambda: zk.create("/nothing/below"), NoNodeError)
refused(lambda: zk.get("/nothing"), NoNodeError)
refused(lambda: zk.set("/nothing", b""), NoNodeError)
refused(lambda: zk.delete("/nothing"), NoNodeError)
refused(lambda: zk.delete("/a"), NotEmptyError)
refused(lambda: zk.set("/a", b"", version=0), BadVersionError)
refused(lambda: zk.delete("/a/child", version=7), BadVersionError)
refused(lambda: zk.delete("/"), BadArgumentsError)
expect(zk.set("/a", b"three", version=1).version, 2)
zk.delete("/a/child", version=0)
gone = zk.exists("/a")
expect((gone.cversion, gone.numChildren), (2, 0))
assert gone.pzxid > parent.pzxid
zk.delete("/a")
expect(zk.create("/deep/er/still", b"x", makepath=True), "/deep/er/still")
zk.delete("/deep", recursive=True)

# Sequences count creations under the parent, not children.
zk.create("/seq")
expect([zk.create("/seq/n-", sequence=True) for _ in range(3)],
       ["/seq/n-0000000000", "/seq/n-0000000001", "/seq/n-0000000002"])
zk.delete("/seq/n-0000000002")
expect(zk.create("/seq/m-", sequence=True), "/seq/m-0000000003")
expect(zk.create("/seq/", sequence=True), "/seq/0000000004")

# Ephemerals belong to a session and go with it, together and before the closing client hears.
other.create("/seq/mine", b"", ephemeral=True)
expect(other.create("/seq/mine-", b"", ephemeral=True, sequence=True), "/seq/mine-0000000006")
expect(zk.exists("/seq/mine").ephemeralOwner, other.client_id[0])
refused(lambda: zk.create("/seq/mine/child"), NoChildrenForEphemeralsError)
other.stop()
expect([name for name in zk.get_children("/seq") if name.startswith("mine")], [])
other.start(timeout=20)

# Watches: once, with the right type and path, and never after the change was seen.
events, heard = [], threading.Event()


def watch(event):
    events.append((event.type, event.path))
    heard.set()


def next_event():
    assert heard.wait(10), "no event"
    heard.clear()
    return events.pop()


expect(zk.exists("/w", watch=watch), None)
other.create("/w", b"")
expect(next_event(), (EventType.CREATED, "/w"))
zk.get("/w", watch=watch)
other.set("/w", b"1")
expect(next_event(), (EventType.CHANGED, "/w"))
other.set("/w", b"2")
zk.get_children("/w", watch=watch)
other.set("/w", b"3")
other.create("/w/c", b"")
expect(next_event(), (EventType.CHILD, "/w"))
other.create("/w/d", b"")
zk.get("/w/c", watch=watch)
other.delete("/w/c")
expect(next_event(), (EventType.DELETED, "/w/c"))
expect((events, heard.is_set()), ([], False), "one-shot")

# Transactions: all or nothing.
t = zk.transaction()
t.create("/t", b"new")
t.set_data("/w", b"in one")
t.check("/w", zk.exists("/w").version + 1)
t.delete("/w/d")
created, set_stat, checked, deleted = t.commit()
expect((created, set_stat.dataLength, checked, deleted), ("/t", 6, True, True))
expect(zk.exists("/t").czxid, zk.exists("/w").mzxid, "one transaction, one zxid")
t = zk.transaction()
t.create("/t/x", b"")
t.check("/t", 99)
t.delete("/t")
results = t.commit()
expect([type(result) for result in results], [RolledBackError, BadVersionError, RuntimeInconsistency])
expect(zk.exists("/t/x"), None)

# Data of every length up to the limit; the limit's own refusal is a closed connection.
for size in (0, 1, 1_000, 1_000_000):
    zk.set("/t", b"x" * size)
    expect(len(other.get("/t")[0]), size)
zk.set("/t", b"")

# Many requests at once are answered in order.
answers = [zk.set_async("/t", b"%d" % n) for n in range(500)]
versions = [answer.get(timeout=30).version for answer in answers]
expect(versions, list(range(versions[0], versions[0] + 500)))
zk.sync("/t")
expect(other.get("/t")[0], b"499")

# A chroot is the client's own affair.
host, port = address("zookeeper")
inside = KazooClient(hosts=f"{host}:{port}/t")
inside.start(timeout=20)
inside.create("/in", b"")
assert zk.exists("/t/in")
inside.stop()

for client in (zk, other):
    client.stop()
    client.close()
say("done")
