// Apache Curator's recipes, each a short story between two clients that fails by the exit code.
// One file, so that `java Recipes.java HOST:PORT` compiles and runs it.

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

public class Recipes {
    static final long LIMIT_S = 20;

    public static void main(String[] args) throws Exception {
        try (CuratorFramework one = client(args[0]); CuratorFramework two = client(args[0])) {
            operations(one);
            leadership(one, two);
            mutex(one, two);
            readWriteLock(one, two);
            semaphore(one, two);
            counter(one, two);
            doubleBarrier(one, two);
            cache(one, two);
            nodes(one, two);
        }
        System.out.println("done");
        System.exit(0);
    }

    static CuratorFramework client(String server) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(server)
            .namespace("curator").retryPolicy(new RetryNTimes(3, 100)).build();
        client.start();
        expect(true, client.blockUntilConnected((int) LIMIT_S, TimeUnit.SECONDS), "connected");
        return client;
    }

    static void operations(CuratorFramework client) throws Exception {
        client.create().creatingParentContainersIfNeeded().forPath("/ops/a/b", bytes("x"));
        // What a client that lost its connection would look for: the name has an id of its own in it.
        String made = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/ops/p-");
        expect(true, made.contains("_c_") && made.endsWith("p-0000000001"), made);
        CuratorOp put = client.transactionOp().setData().forPath("/ops/a/b", bytes("y"));
        CuratorOp make = client.transactionOp().create().forPath("/ops/a/c", bytes("z"));
        expect(2, client.transaction().forOperations(put, make).size(), "results");
        try {
            client.transaction().forOperations(put, make);
            throw new AssertionError("a transaction with a znode that exists");
        } catch (KeeperException.NodeExistsException expected) {
            expect("y", text(client.getData().forPath("/ops/a/b")), "data");
        }
        expect(List.of("b", "c"), client.getChildren().forPath("/ops/a").stream().sorted().toList(), "children");
        client.delete().guaranteed().deletingChildrenIfNeeded().forPath("/ops/a");
        expect(null, client.checkExists().forPath("/ops/a"), "stat");
    }

    static void leadership(CuratorFramework one, CuratorFramework two) throws Exception {
        LeaderLatch first = new LeaderLatch(one, "/leader", "first");
        LeaderLatch second = new LeaderLatch(two, "/leader", "second");
        first.start();
        expect(true, first.await(LIMIT_S, TimeUnit.SECONDS), "the first leads");
        second.start();
        expect(false, second.await(200, TimeUnit.MILLISECONDS), "one leads");
        expect("first", second.getLeader().getId(), "leader");
        first.close();
        expect(true, second.await(LIMIT_S, TimeUnit.SECONDS), "the second leads");
        second.close();
    }

    static void mutex(CuratorFramework one, CuratorFramework two) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        int[] count = {0};
        each(List.of(one, two, one, two), client -> {
            InterProcessMutex mutex = new InterProcessMutex(client, "/mutex");
            for (int round = 0; round < 10; round++) {
                expect(true, mutex.acquire(LIMIT_S, TimeUnit.SECONDS), "acquired");
                expect(1, inside.incrementAndGet(), "holders");
                count[0]++;
                inside.decrementAndGet();
                mutex.release();
            }
        });
        expect(40, count[0], "rounds");
    }

    static void readWriteLock(CuratorFramework one, CuratorFramework two) throws Exception {
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(one, "/rw");
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(two, "/rw");
        mine.readLock().acquire();
        expect(true, other.readLock().acquire(LIMIT_S, TimeUnit.SECONDS), "two readers");
        other.readLock().release();
        expect(false, other.writeLock().acquire(200, TimeUnit.MILLISECONDS), "a writer beside a reader");
        mine.readLock().release();
        expect(true, other.writeLock().acquire(LIMIT_S, TimeUnit.SECONDS), "a writer alone");
        other.writeLock().release();
    }

    static void semaphore(CuratorFramework one, CuratorFramework two) throws Exception {
        InterProcessSemaphoreV2 mine = new InterProcessSemaphoreV2(one, "/semaphore", 2);
        InterProcessSemaphoreV2 other = new InterProcessSemaphoreV2(two, "/semaphore", 2);
        var leases = mine.acquire(2);
        expect(null, other.acquire(200, TimeUnit.MILLISECONDS), "a third lease");
        mine.returnAll(leases);
        other.returnLease(other.acquire(LIMIT_S, TimeUnit.SECONDS));
    }

    static void counter(CuratorFramework one, CuratorFramework two) throws Exception {
        each(List.of(one, two), client -> {
            DistributedAtomicLong counter =
                new DistributedAtomicLong(client, "/counter", new RetryNTimes(1000, 1));
            for (int round = 0; round < 25; round++) {
                expect(true, counter.increment().succeeded(), "incremented");
            }
        });
        DistributedAtomicLong counter = new DistributedAtomicLong(one, "/counter", new RetryNTimes(1, 1));
        expect(50L, counter.get().postValue(), "counted");
    }

    static void doubleBarrier(CuratorFramework one, CuratorFramework two) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        each(List.of(one, two), client -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, "/barrier", 2);
            inside.incrementAndGet();
            expect(true, barrier.enter(LIMIT_S, TimeUnit.SECONDS), "entered");
            expect(2, inside.get(), "members");
            expect(true, barrier.leave(LIMIT_S, TimeUnit.SECONDS), "left");
        });
    }

    /** A cache is a persistent recursive watch and reads. */
    static void cache(CuratorFramework one, CuratorFramework two) throws Exception {
        two.create().forPath("/cache", bytes("0"));
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        try (CuratorCache cache = CuratorCache.build(one, "/cache")) {
            CountDownLatch ready = new CountDownLatch(1);
            cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(ready::countDown)
                .forCreates(node -> seen.add("created " + node.getPath()))
                .forChanges((old, node) -> seen.add("changed " + node.getPath() + " " + text(node.getData())))
                .forDeletes(node -> seen.add("deleted " + node.getPath()))
                .build());
            cache.start();
            expect(true, ready.await(LIMIT_S, TimeUnit.SECONDS), "initialized");
            expect("created /cache", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
            two.create().creatingParentsIfNeeded().forPath("/cache/a/b", bytes("1"));
            expect("created /cache/a", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
            expect("created /cache/a/b", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
            two.setData().forPath("/cache/a/b", bytes("2"));
            expect("changed /cache/a/b 2", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
            two.delete().deletingChildrenIfNeeded().forPath("/cache/a");
            expect("deleted /cache/a/b", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
            expect("deleted /cache/a", seen.poll(LIMIT_S, TimeUnit.SECONDS), "seen");
        }
    }

    static void nodes(CuratorFramework one, CuratorFramework two) throws Exception {
        try (PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/mine", bytes("x"))) {
            node.start();
            expect(true, node.waitForInitialCreate(LIMIT_S, TimeUnit.SECONDS), "made");
            two.delete().forPath("/mine");
            for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
                    two.checkExists().forPath("/mine") == null; Thread.sleep(10)) {
                expect(true, System.nanoTime() < end, "made again");
            }
        }
        try (PersistentTtlNode node = new PersistentTtlNode(one, "/beats", 2000, bytes("x"))) {
            node.start();
            expect(true, node.waitForInitialCreate(LIMIT_S, TimeUnit.SECONDS), "made");
            expect("x", text(two.getData().forPath("/beats")), "data");
            // It touches a child of a short life, longer than that life and the reaper's round.
            Thread.sleep(4000);
            expect(List.of("touch"), two.getChildren().forPath("/beats"), "children");
        }
    }

    interface Work {
        void with(CuratorFramework client) throws Exception;
    }

    /** The same work by each client at once. */
    static void each(List<CuratorFramework> clients, Work work) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(clients.size());
        List<Future<Object>> all = clients.stream().map(client -> pool.submit(() -> {
            work.with(client);
            return null;
        })).toList();
        for (Future<Object> one : all) {
            one.get(3 * LIMIT_S, TimeUnit.SECONDS);
        }
        pool.shutdown();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static void expect(Object wanted, Object got, String what) {
        if (wanted == null ? got != null : !wanted.equals(got)) {
            throw new AssertionError(what + ": got " + got + ", wanted " + wanted);
        }
    }
}
