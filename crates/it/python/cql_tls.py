"""The Cassandra driver and an HTTP client over TLS; certificates are in the folder HOLDFAST_TLS."""

import os
import ssl
import urllib.error
import urllib.request

from cassandra.cluster import NoHostAvailable
from common import address, cluster, expect, keyspace, refused, say


def trusting(ca):
    context = ssl.create_default_context(cafile=os.path.join(os.environ["HOLDFAST_TLS"], ca))
    context.check_hostname = False
    return context


with cluster(ssl_context=trusting("ca.pem")) as sealed:
    session = sealed.connect()
    keyspace(session, "t")
    session.execute("CREATE TABLE t (k int PRIMARY KEY, v blob)")
    insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    sizes = [0, 1, 1_000, 100_000, 2_000_000]
    for at, size in enumerate(sizes):
        session.execute(insert, (at, b"x" * size))
    expect({row.k: len(row.v) for row in session.execute("SELECT k, v FROM t")}, dict(enumerate(sizes)))
    answers = [session.execute_async("SELECT k FROM t WHERE k = 1") for _ in range(500)]
    expect([[row.k for row in answer.result()] for answer in answers], [[1]] * 500)

# In clear, and by who believes another authority.
refused(lambda: cluster(connect_timeout=5).connect(), NoHostAvailable)
refused(lambda: cluster(connect_timeout=5, ssl_context=trusting("other-ca.pem")).connect(), NoHostAvailable)

host, port = address("http")
for url, context in ((f"http://{host}:{port}", None), (f"https://{host}:{port}", trusting("ca.pem"))):
    with urllib.request.urlopen(url + "/health", timeout=10, context=context) as answer:
        expect(answer.read(), b"ok\n")
    with urllib.request.urlopen(url + "/metrics", timeout=10, context=context) as answer:
        text = answer.read().decode()
handshakes = [line for line in text.splitlines() if line.startswith("holdfast_door_tls_handshakes_total")]
assert any('door="cql"' in line and not line.endswith(" 0") for line in handshakes), handshakes
refused(lambda: urllib.request.urlopen(f"https://{host}:{port}/health", timeout=10,
                                       context=trusting("other-ca.pem")),
        urllib.error.URLError, "certificate verify failed")
say("done")
