from kazoo.client import KazooClient

zk = KazooClient(hosts='127.0.0.1:2181')
zk.start()

lock = zk.Lock("/lock", "my-identifier")
with lock:
    print("Lock acquired")

zk.stop()
