# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Real etcd members for tests, on loopback and in a directory of their own; ended by the pid that was started.

    with etcd.Cluster(3, tls=True) as c:
        c.ctl("put", "/a", "1")
        c.kill(c.leader())
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile

import np


def need():
    if not shutil.which("etcd") or not shutil.which("etcdctl"):
        np.skip("there is no etcd (Debian: etcd-server, etcd-client)")


def openssl(*words):
    r = subprocess.run(["openssl", *words], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


class Cluster:
    def __init__(self, members=1, tls=False, address="127.0.0.1", inside=()):
        """inside: words before each command, that enter the network namespace of address."""
        need()
        self.address, self.inside = address, list(inside)
        self.dir, self.tls = tempfile.mkdtemp(prefix="np-etcd."), tls
        os.chmod(self.dir, 0o755)
        self.ports = [(np.free_port(), np.free_port()) for _ in range(members)]
        self.process, self.user = [None] * members, None
        if tls:
            self.make_ca()
        for i in range(members):
            self.start(i, wait=False)
        self.await_ready()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        for i in range(len(self.process)):
            self.kill(i)
        if why[0] and why[0] is not SystemExit:
            for i in range(len(self.process)):
                print(f"---- etcd {i}\n" + open(self.at(f"log{i}"), errors="replace").read()[-2000:])
        shutil.rmtree(self.dir, ignore_errors=True)

    def at(self, name):
        return os.path.join(self.dir, name)

    # ---- certificates
    def make_ca(self):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=test etcd", "-keyout", self.at("ca-key.pem"), "-out", self.at("ca.pem"))
        self.certificate("server", "subjectAltName=IP:127.0.0.1")
        self.certificate("root")

    def certificate(self, name, extension="extendedKeyUsage=clientAuth"):
        """NAME.pem and NAME-key.pem, of the common name `name`."""
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", self.at(f"{name}-key.pem"), "-out", self.at(f"{name}.csr"))
        with open(self.at(f"{name}.ext"), "w") as f:
            f.write(extension + "\n")
        openssl("x509", "-req", "-in", self.at(f"{name}.csr"), "-CA", self.at("ca.pem"), "-CAkey", self.at("ca-key.pem"),
                "-CAcreateserial", "-days", "30", "-extfile", self.at(f"{name}.ext"), "-out", self.at(f"{name}.pem"))

    # ---- members
    def urls(self, i):
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.ports[i][0]}", f"http://127.0.0.1:{self.ports[i][1]}"

    def endpoints(self):
        return [f"{self.address}:{p}" for p, _ in self.ports]

    def start(self, i, wait=True):
        client, peer = self.urls(i)
        words = ["etcd", "--name", f"m{i}", "--data-dir", self.at(f"data{i}"), "--listen-client-urls", client,
                 "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", ",".join(f"m{j}={self.urls(j)[1]}" for j in range(len(self.ports))),
                 "--heartbeat-interval", "50", "--election-timeout", "500", "--bcrypt-cost", "4", "--unsafe-no-fsync"]
        if self.tls:
            words += ["--cert-file", self.at("server.pem"), "--key-file", self.at("server-key.pem"),
                      "--trusted-ca-file", self.at("ca.pem"), "--client-cert-auth"]
        with open(self.at(f"log{i}"), "ab") as log:
            self.process[i] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.inside, *words], stdout=log, stderr=log,
                                               stdin=subprocess.DEVNULL)
        if wait:
            self.await_ready()

    def kill(self, i, signo=signal.SIGKILL):
        p = self.process[i]
        if p and p.poll() is None:
            p.send_signal(signo)
            p.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(10)
        self.process[i] = None

    def pause(self, i, paused=True):
        self.process[i].send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def wipe(self, i):
        shutil.rmtree(self.at(f"data{i}"))

    # ---- questions
    def run(self, *words, user=None, feed=None, members=None):
        at = ",".join(self.urls(i)[0] for i in (members if members is not None else range(len(self.ports))))
        who = ["--cacert", self.at("ca.pem"), "--cert", self.at(f"{user or 'root'}.pem"),
               "--key", self.at(f"{user or 'root'}-key.pem")] if self.tls else []
        return subprocess.run([*self.inside, "etcdctl", "--endpoints", at, "--command-timeout=10s", *who, *words], capture_output=True,
                              text=True, input=feed, env=dict(os.environ, ETCDCTL_API="3"))

    def ctl(self, *words, **more):
        r = self.run(*words, **more)
        if r.returncode != 0:
            raise ValueError(f"etcdctl {' '.join(words)}: {r.stderr.strip()}")
        return r.stdout

    def put(self, key, value, **more):
        self.ctl("put", key, feed=value if isinstance(value, str) else json.dumps(value), **more)

    def await_ready(self):
        np.until("etcd to answer", lambda: self.ctl("get", "/ready") is not None)

    def leader(self):
        """Its index; the first of those that run and say so."""
        alive = [i for i, p in enumerate(self.process) if p]
        rows = json.loads(self.ctl("endpoint", "status", "-w", "json", members=alive))
        for i, r in zip(alive, rows):
            if r["Status"]["leader"] == r["Status"]["header"]["member_id"]:
                return i
        raise ValueError("no leader")

    def revision(self):
        return json.loads(self.ctl("get", "/ready", "-w", "json"))["header"]["revision"]


# ---- objects, by their keys
def service(ns, name, port, app="http"):
    return f"ns/{ns}/core/Service/{name}", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": ns},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "main", "port": port, "protocol": "TCP", "appProtocol": app}]}}


def slice_of(ns, service_name, name, *ports):
    return f"ns/{ns}/discovery.k8s.io/EndpointSlice/{name}", {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": ns, "labels": {"kubernetes.io/service-name": service_name}},
        "addressType": "IPv4", "ports": [{"name": "main", "port": ports[0], "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"]}]}
