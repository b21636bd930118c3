"""kazoo's recipes: what people use ZooKeeper for, made of the operations that are there."""

import threading
import time

from kazoo.exceptions import LockTimeout
from kazoo.recipe.partitioner import SetPartitioner
from common import expect, say, zookeeper

a, b = zookeeper(), zookeeper()


def soon(what, probe):
    deadline = time.time() + 20
    while not probe():
        assert time.time() < deadline, f"not soon: {what}"
        time.sleep(0.02)


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


# Lock: one at a time, in the order of asking; a wait may be given up.
first, second = a.Lock("/locks/one", "first"), b.Lock("/locks/one", "second")
assert first.acquire()
assert not second.acquire(blocking=False)
try:
    second.acquire(timeout=0.3)
    raise AssertionError("taken twice")
except LockTimeout:
    pass
waiter = in_thread(second.acquire)
soon("the second waits", lambda: first.contenders() == ["first", "second"])
first.release()
waiter.join(20)
assert second.is_acquired
second.release()

# Read and write locks, and a semaphore of two.
reading, also = a.ReadLock("/locks/rw"), b.ReadLock("/locks/rw")
assert reading.acquire() and also.acquire()
writing = b.WriteLock("/locks/rw")
assert not writing.acquire(blocking=False)
reading.release()
also.release()
assert writing.acquire(timeout=10)
writing.release()
seats = [client.Semaphore("/locks/seats", max_leases=2) for client in (a, b, a)]
assert seats[0].acquire() and seats[1].acquire() and not seats[2].acquire(blocking=False)
seats[0].release()
assert seats[2].acquire(timeout=10)

# Barrier and double barrier.
barrier = a.Barrier("/barrier")
barrier.create()
passed = in_thread(lambda: b.Barrier("/barrier").wait(20))
assert passed.is_alive()
barrier.remove()
passed.join(20)
assert not passed.is_alive()
inside = []


def visit(client):
    double = client.DoubleBarrier("/double", 2)
    double.enter()
    inside.append(client)
    double.leave()


visitors = [in_thread(lambda client=client: visit(client)) for client in (a, b)]
for visitor in visitors:
    visitor.join(20)
expect(len(inside), 2)

# Counter: both add, nothing is lost.
def add(client):
    counter = client.Counter("/counter", default=0)
    for _ in range(50):
        counter += 1


adders = [in_thread(lambda client=client: add(client)) for client in (a, b)]
for adder in adders:
    adder.join(60)
expect(a.Counter("/counter").value, 100)

# Election: the next candidate leads when the leader is done.
led = []
elections = [client.Election("/election", name) for client, name in ((a, "a"), (b, "b"))]
candidates = [in_thread(lambda e=election, n=name: e.run(led.append, n)) for election, name in zip(elections, "ab")]
for candidate in candidates:
    candidate.join(20)
expect(sorted(led), ["a", "b"])

# Queues, and a locking one that is safe when its consumer dies.
queue = a.Queue("/queue")
for n, priority in ((1, 100), (2, 50), (3, 100)):
    queue.put(b"%d" % n, priority=priority)
expect([b.Queue("/queue").get() for _ in range(4)], [b"2", b"1", b"3", None])
locking = a.LockingQueue("/locking")
locking.put_all([b"x", b"y"])
expect(locking.get(timeout=10), b"x")
expect(b.LockingQueue("/locking").get(timeout=10), b"y")
assert locking.consume()

# Party and watches that renew themselves.
names = []
here = a.Party("/party", "a")
here.join()
b.ChildrenWatch("/party", lambda children: names.append(len(children)))
guest = b.Party("/party", "b")
guest.join()
expect(sorted(here), ["a", "b"])
soon("the watch sees two", lambda: 2 in names)
guest.leave()
soon("and one again", lambda: names[-1] == 1)
values = []
a.create("/watched", b"0")
a.DataWatch("/watched", lambda data, stat: values.append(data))
for n in range(1, 4):
    b.set("/watched", b"%d" % n)
    soon("every value is seen", lambda n=n: values[-1] == b"%d" % n)

# A set parted among those who are there.
parts = [SetPartitioner(client, "/parts", tuple(range(10)), identifier=name, time_boundary=0.3)
         for client, name in ((a, "a"), (b, "b"))]
deadline = time.time() + 30
while not all(part.acquired for part in parts):
    assert time.time() < deadline, [part.state for part in parts]
    for part in parts:
        if part.release:
            part.release_set()
        part.wait_for_acquire(0.2)
expect(sorted(list(parts[0]) + list(parts[1])), list(range(10)))
for part in parts:
    part.finish()

for client in (a, b):
    client.stop()
say("done")
