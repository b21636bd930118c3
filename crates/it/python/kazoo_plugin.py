"""A pytest plugin: kazoo's own tests, with Holdfast where they would start ZooKeeper.

    pytest -p kazoo_plugin --pyargs kazoo.tests

kazoo's harness starts a cluster of Java processes, each a ManagedZooKeeper with a configuration, a
key store and a trust store. This puts one in its place that starts `holdfast` with the same
settings, one server instead of three, and leaves everything else of the harness as it is: kazoo
decides when a server is started, stopped and emptied. Nothing is deselected, skipped or run twice.

HOLDFAST_BIN is the server's binary. A line for each test goes to HOLDFAST_KAZOO_REPORT: how it ended,
its name, and if it did not pass why, parted by tabs.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from OpenSSL import crypto

# What kazoo's harness reads: one server, and what it must show itself as. With CI its tests believe
# this version instead of asking the server for it, but for the one that asks and compares.
os.environ["ZOOKEEPER_CLUSTER_SIZE"] = "1"
os.environ["ZOOKEEPER_VERSION"] = "3.9.5"
os.environ["CI"] = "true"

from kazoo.testing import common, harness  # noqa: E402 (it reads them when it is first used)

START_LIMIT_S = 30
STOP_LIMIT_S = 30
SUPER_DIGEST = "-Dzookeeper.DigestAuthenticationProvider.superDigest="
WORDS = "4lw.commands.whitelist="
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Has the kernel kill this process when pytest ends, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Holdfast(common.ManagedZooKeeper):
    """One server process. It finds a free port at its first start, and keeps it."""

    port = 0
    process = None

    def run(self):
        if self.running:
            return
        data = os.path.join(self.working_path, "data")
        os.makedirs(data, exist_ok=True)
        command = [os.environ["HOLDFAST_BIN"], "start", "--data-dir", data]
        for door, address in [("zookeeper", f"{self.host}:{self.port}"), ("cql", "off"), ("http", "off")]:
            command += ["--listen", f"{door}={address}"]
        for name, value in self.settings():
            command += ["--set", f"{name}={value}"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.working_path, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, preexec_fn=end_with_parent)
        self.port = self.wait_until_listening(pathlib.Path(data, "listen.json"))
        self._running = True

    def settings(self):
        """What kazoo configures, by its names here."""
        for entry in self.configuration_entries:
            if entry.startswith(WORDS):
                yield "zookeeper.four_letter_words", json.dumps(entry[len(WORDS):].split(","))
        for prop in self.java_system_properties:
            if prop.startswith(SUPER_DIGEST):
                yield "zookeeper.super_digest", prop[len(SUPER_DIGEST):]

        # One port serves both kinds of clients, and asks those that speak TLS for a certificate, as the
        # secure port does that kazoo configures.
        yield "zookeeper.tls", "optional"
        for name, pem in self.pem_files():
            path = os.path.join(self.working_path, name + ".pem")
            pathlib.Path(path).write_bytes(pem)
            yield f"tls.{name}", path

    def pem_files(self):
        """What is in kazoo's key stores, which only Java reads."""
        made = self.ssl_configuration
        yield "certificate", crypto.dump_certificate(crypto.FILETYPE_PEM, made["server_cert"])
        yield "key", crypto.dump_privatekey(crypto.FILETYPE_PEM, made["server_key"])
        yield "client_ca", made["ca_cert_pem"]

    def wait_until_listening(self, listed):
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                doors = json.loads(listed.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                doors = {"pid": 0}
            if doors["pid"] == self.process.pid:
                return int(doors["doors"]["zookeeper"].rsplit(":", 1)[1])
            time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        raise RuntimeError("the server does not start:\n" + "".join(self.get_logs()))

    def stop(self):
        if not self.running:
            return
        self.process.terminate()
        code = self.process.wait(STOP_LIMIT_S)
        self._running = False
        if code != 0:
            raise RuntimeError(f"the server stopped with {code}:\n" + "".join(self.get_logs()))

    def reset(self):
        self.stop()
        shutil.rmtree(os.path.join(self.working_path, "data"), ignore_errors=True)

    @property
    def client_port(self):
        return self.port

    secure_client_port = client_port

    @property
    def log_path(self):
        return os.path.join(self.working_path, "zookeeper.log")


class Cluster(common.ZookeeperCluster):
    """kazoo's cluster, without its pause after a start: here `run` returns when clients can connect."""

    def start(self):
        for server in self:
            server.run()

    def perform_ssl_certs_generation(self):
        """kazoo's certificates, those of server and client as version 3. It leaves them at version 1 of
        1988, which Java still takes and rustls does not."""
        super().perform_ssl_certs_generation()
        made = self._ssl_configuration
        for name in ("server_cert", "client_cert"):
            made[name].set_version(2)
            made[name].sign(made["ca_key"], "sha256")
        made["client_cert_pem"] = crypto.dump_certificate(crypto.FILETYPE_PEM, made["client_cert"])


common.ManagedZooKeeper = Holdfast
harness.ZookeeperCluster = Cluster

# How each test ended: the worst of its set-up, its call and its tear-down.
OUTCOMES = {}


def pytest_runtest_logreport(report):
    file, _, test = report.nodeid.partition("::")
    name = f"{os.path.basename(file)}::{test}"
    if report.failed:
        reason = (report.longreprtext.splitlines() or [""])[-1]
        OUTCOMES[name] = ("failed", f"{report.when}: {reason}")
    elif report.skipped:
        OUTCOMES.setdefault(name, ("skipped", str(report.longrepr[-1])))
    elif report.when == "call":
        OUTCOMES.setdefault(name, ("passed", ""))


def pytest_sessionfinish(session):
    with open(os.environ["HOLDFAST_KAZOO_REPORT"], "w", encoding="utf-8") as report:
        for name, (outcome, reason) in sorted(OUTCOMES.items()):
            print(outcome, name, " ".join(reason.split()), sep="\t", file=report)
