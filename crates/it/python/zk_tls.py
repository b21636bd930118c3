"""kazoo over TLS.

argument: `optional`, `required` or `reload`, as the server is set; certificates are in the folder
HOLDFAST_TLS. With `reload`, a line `same` or `changed` on standard input says what became of them."""

import os
import socket
import ssl
import sys
import time
from collections import namedtuple

from kazoo.client import KazooClient
from kazoo.exceptions import InvalidACLError, NoAuthError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.serialization import int_struct, read_string
from kazoo.security import ACL, Id, Permissions
from common import address, expect, refused, say, wait_to_be_told, zookeeper


def file(name):
    return os.path.join(os.environ["HOLDFAST_TLS"], name)


def tls(name=None, ca="ca.pem", **options):
    """Options of a client that believes `ca` and shows the certificate of `name`."""
    if name:
        options.update(certfile=file(f"{name}.pem"), keyfile=file(f"{name}.key"))
    return dict(use_ssl=True, verify_certs=True, ca=file(ca), **options)


def never_connects(**options):
    host, port = address("zookeeper")
    client = KazooClient(hosts=f"{host}:{port}", **options)
    refused(lambda: client.start(timeout=2), KazooTimeoutError)
    client.stop()
    client.close()


class WhoAmI(namedtuple("WhoAmI", "unused")):
    # kazoo takes a request without a field for none.
    type = 107

    @classmethod
    def serialize(cls):
        return b""

    @classmethod
    def deserialize(cls, data, offset):
        count, = int_struct.unpack_from(data, offset)
        offset += int_struct.size
        ids = []
        for _ in range(count):
            scheme, offset = read_string(data, offset)
            user, offset = read_string(data, offset)
            ids.append((scheme, user))
        return ids


def who_am_i(client):
    answer = client.handler.async_result()
    client._call(WhoAmI(None), answer)
    return answer.get(timeout=20)


def in_tls(word, name=None):
    """The answer to a four-letter word."""
    context = ssl.create_default_context(cafile=file("ca.pem"))
    if name:
        context.load_cert_chain(file(f"{name}.pem"), file(f"{name}.key"))
    with socket.create_connection(address("zookeeper"), 10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sealed:
            sealed.sendall(word)
            # To the end, which the server must say within TLS too.
            return b"".join(iter(lambda: sealed.recv(8192), b"")).decode()


def optional():
    sealed, clear = zookeeper(**tls()), zookeeper()
    expect(sealed.create("/a", b"one"), "/a")
    expect(clear.get("/a")[0], b"one")
    seen = []
    sealed.get("/a", watch=seen.append)
    for size in (0, 1, 20_000, 1_000_000):
        clear.set("/a", b"x" * size)
        expect(sealed.get("/a")[0], b"x" * size)
        sealed.set("/a", b"y" * size)
        expect(clear.get("/a")[0], b"y" * size)
    expect([event.path for event in seen], ["/a"])
    for client in (sealed, clear):
        answers = [client.set_async("/a", b"%d" % n) for n in range(500)]
        versions = [answer.get(timeout=30).version for answer in answers]
        expect(versions, list(range(versions[0], versions[0] + 500)))
        # Nobody asked for a certificate.
        expect([scheme for scheme, _ in who_am_i(client)], ["ip"])

    # kazoo's own `command` takes the port for the server's name when it speaks TLS.
    for ask in (clear.command, in_tls):
        expect(ask(b"ruok"), "imok")
        assert ask(b"srvr").startswith("Zookeeper version: 3.9.5")

    # A session is the same on both sides of TLS.
    session = sealed.client_id
    sealed.create("/mine", ephemeral=True)
    host, port = address("zookeeper")
    moved = KazooClient(hosts=f"{host}:{port}", client_id=session)
    moved.start(timeout=20)
    expect(moved.client_id[0], session[0])
    expect(clear.exists("/mine").ephemeralOwner, session[0])
    moved.stop()
    expect(clear.exists("/mine"), None)

    # Clients that do not believe the server leave.
    never_connects(**tls(ca="other-ca.pem"))
    say("done")


def required():
    worker, colleague = zookeeper(**tls("worker")), zookeeper(**tls("colleague"))
    never_connects()
    never_connects(**tls())
    never_connects(**tls("stranger"))
    never_connects(**tls("expired"))
    expect(in_tls(b"ruok", "worker"), "imok")

    me = "CN=worker,O=Example"
    expect(who_am_i(worker), [("ip", "127.0.0.1"), ("x509", me)])
    for path, whom in (("/named", Id("x509", me)), ("/auth", Id("auth", ""))):
        worker.create(path, b"secret", acl=[ACL(Permissions.ALL, whom)])
        expect(worker.get_acls(path)[0], [ACL(Permissions.ALL, Id("x509", me))])
        expect(worker.get(path)[0], b"secret")
        refused(lambda: colleague.get(path), NoAuthError)
    refused(lambda: worker.set_acls("/named", [ACL(Permissions.ALL, Id("x509", "no name"))]), InvalidACLError)
    # Whoever says it again proves nothing more.
    worker.add_auth("x509", "")
    expect(who_am_i(worker), [("ip", "127.0.0.1"), ("x509", me)])
    say("done")


def shown(ca):
    """Whether the server shows a certificate that `ca` has signed."""
    context = ssl.create_default_context(cafile=file(ca))
    try:
        with socket.create_connection(address("zookeeper"), 10) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as sealed:
                return bool(sealed.getpeercert())
    except ssl.SSLCertVerificationError:
        return False


def reload():
    early = zookeeper(**tls())
    say("connected")
    wait_to_be_told("same")
    assert shown("ca.pem")
    zookeeper(**tls()).create("/a", b"one")
    say("connected")
    wait_to_be_told("changed")
    deadline = time.time() + 60
    while not shown("new-ca.pem"):
        assert time.time() < deadline, "the new certificate is not shown"
        time.sleep(0.05)
    assert not shown("ca.pem")
    late = zookeeper(**tls(ca="new-ca.pem"))
    # Who was there before notices nothing.
    early.set("/a", b"two")
    expect(late.get("/a")[0], b"two")
    say("done")


{"optional": optional, "required": required, "reload": reload}[sys.argv[1]]()
