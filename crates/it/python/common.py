"""What the programs share: connections to the server under test, and a bound on everything."""

import faulthandler
import os
import sys

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from kazoo.client import KazooClient

# A program that hangs shows where, and ends.
faulthandler.dump_traceback_later(float(os.environ.get("HOLDFAST_PROGRAM_LIMIT_S", "110")), exit=True)


def address(door):
    host, port = os.environ["HOLDFAST_" + door.upper()].rsplit(":", 1)
    return host, int(port)


def cluster(**options):
    """A Cluster of the driver as it connects by default, but for the port."""
    host, port = address("cql")
    profile = ExecutionProfile(request_timeout=30)
    options.setdefault("execution_profiles", {EXEC_PROFILE_DEFAULT: profile})
    return Cluster([host], port=port, **options)


def zookeeper(**options):
    """A started KazooClient."""
    host, port = address("zookeeper")
    client = KazooClient(hosts=f"{host}:{port}", **options)
    client.start(timeout=20)
    return client


def keyspace(session, name, factor=1):
    session.execute(f"CREATE KEYSPACE {name} WITH replication = "
                    f"{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    session.set_keyspace(name)


def expect(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {shown(got)}, wanted {shown(wanted)}")


def shown(value):
    """A value as a person can read it: of a long one, both ends."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]}"


def refused(call, kind, *texts):
    """Runs `call`, which must raise `kind` with every one of `texts` in its message; the error."""
    try:
        answer = call()
    except kind as error:
        for text in texts:
            if text not in str(error):
                raise AssertionError(f"{text!r} is not in {error!r}") from error
        return error
    raise AssertionError(f"not refused: {answer!r}")


def say(*words):
    print(*words, flush=True)


def wait_to_be_told(what):
    line = sys.stdin.readline().strip()
    expect(line, what, "told on standard input")
