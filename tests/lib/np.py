# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Real processes for tests: a nodeproxy of the build tree in a directory of its own, back-ends, and
the requests and questions a test asks.  Everything is ended by the pid that was started and the
directory is removed, also when the test fails.

    with np.Host(workers=1) as host:
        one = host.backend("one")
        host.service("shop/web", 80, [one.port])
        host.start()
        assert host.get("/").status == 200
"""
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.path.abspath(os.environ.get("top_builddir", "."))
SOURCE = os.path.abspath(os.environ.get("top_srcdir", "."))
DEADLINE = 30  # s: of every condition; long, because a sanitized build on a busy machine is slow


def skip(why):
    """Ends the test as skipped, with its reason."""
    print(f"SKIP: {os.path.basename(sys.argv[0])}: {why}")
    sys.exit(77)


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def only_in_tiers(*tiers):
    """NP_TIER chooses which tests a run wants: unit, process; unset: all."""
    tier = os.environ.get("NP_TIER", "")
    if tier and tier not in tiers:
        skip(f"not in the tier {tier}")


def until(what, condition, seconds=DEADLINE):
    """Waits for condition() to be true; its value.  Raises with `what` at the deadline."""
    end = time.monotonic() + seconds
    error = None
    while True:
        try:
            value = condition()
            if value:
                return value
            error = None
        except (OSError, ValueError, KeyError, http.client.HTTPException) as e:
            error = e
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for: {what}" + (f" ({error})" if error else ""))
        threading.Event().wait(0.02)


def free_ports(n):
    """Below those that the kernel gives to whoever dials: tests run beside each other."""
    found, dice = [], random.SystemRandom()
    with contextlib.ExitStack() as stack:
        while len(found) < n:
            s, port = stack.enter_context(socket.socket()), dice.randrange(10240, 32768)
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                found.append(port)
    return found


def free_port():
    return free_ports(1)[0]


class Backend:
    """An HTTP/1.1 back-end in a thread: answers `name path`, keeps connections, counts requests."""

    def __init__(self, name, port=0, body=None):
        self.name, self.body, self.requests = name, body, 0
        self.heads = None       # a list, to keep what headers requests had
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.open, self.lock, self.up = set(), threading.Lock(), True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if not self.up:
                    c.close()
                    return
                self.open.add(c)
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        f = c.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while True:
                line = f.readline()
                if not line:
                    break
                headers = {}
                while (h := f.readline()) not in (b"\r\n", b""):
                    k, v = h.split(b":", 1)
                    headers[k.strip().lower()] = v.strip()
                if self.heads is not None:
                    self.heads.append(list(headers.items()))
                f.read(int(headers.get(b"content-length", 0)))
                with self.lock:
                    self.requests += 1
                body = self.body if self.body is not None else f"{self.name} {line.split()[1].decode()}\n".encode()
                c.sendall(b"HTTP/1.1 200 OK\r\nX-Backend: %s\r\nContent-Length: %d\r\n\r\n" %
                          (self.name.encode(), len(body)) + body)
        with self.lock:
            self.open.discard(c)
        c.close()

    def stop(self):
        with self.lock:
            self.up = False
            for c in self.open:
                with contextlib.suppress(OSError):
                    c.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


PROGRAMS = ("nodeproxy/nodeproxy", "nodeproxy-worker", "nodeproxy-syncd", "nodeproxy-admind", "nodeproxy-keyd")


def programs(tree, names=PROGRAMS):
    """Puts the programs of the build into a tree of their own, each by rename, as packages do."""
    for name in names:
        path = os.path.join(tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(os.path.join(BUILD, name), path + "~")
        os.rename(path + "~", path)


class Answer:
    def __init__(self, r):
        self.status, self.headers, self.body = r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read()


class Host:
    """One nodeproxy.  Resources are files in host.resources (name -> text via write())."""

    def __init__(self, workers=2, config="", env=None, listeners=None, wrapper=(), tree=BUILD, stderr=None):
        need_root()
        self.stderr = stderr    # a descriptor instead of the file log
        self.tree = tree        # where the programs are; see programs()
        self.dir = tempfile.mkdtemp(prefix="np-test.")
        self.resources = os.path.join(self.dir, "resources.d")
        os.mkdir(self.resources)
        self.socket = os.path.join(self.dir, "admin.sock")
        self.port, self.metrics = free_ports(2)
        self.workers, self.config, self.env, self.wrapper = workers, config, env or {}, list(wrapper)
        self.listeners, self.node = listeners, "test"
        self.source = None      # of the configuration; None: the files in host.resources
        self.log = os.path.join(self.dir, "nodeproxy.log")
        self.access_log, self.access_format = os.path.join(self.dir, "access.log"), "text"
        self.backends, self.process = [], None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        failed = kind is not None and kind is not SystemExit
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.keeper(), signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if failed and os.path.exists(self.log):
            sys.stdout.write("---- nodeproxy.log\n" + open(self.log, errors="replace").read()[-8000:])
            if os.path.exists(self.access_log):
                sys.stdout.write("---- access.log\n" + open(self.access_log, errors="replace").read()[-4000:])
        for b in self.backends:
            b.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- what it is given
    def backend(self, name, **more):
        b = Backend(name, **more)
        self.backends.append(b)
        return b

    def write(self, name, text):
        """A resource file, put in place whole."""
        path = os.path.join(self.resources, name)
        with open(path + "~", "w") as f:
            f.write(text)
        os.rename(path + "~", path)

    def service(self, key, port, ports, app="http", extra=""):
        """Service NAMESPACE/NAME:port with an endpoint 127.0.0.1 for each of ports, in one file."""
        ns, name = key.split("/")
        text = (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {ns}}}\n"
                f"spec: {{ports: [{{name: main, port: {port}, protocol: TCP{', appProtocol: ' + app if app else ''}}}]}}\n")
        for i, p in enumerate(ports):
            text += (f"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                     f"metadata: {{name: {name}-{i}, namespace: {ns}, labels: {{kubernetes.io/service-name: {name}}}}}\n"
                     f"addressType: IPv4\nports: [{{name: main, port: {p}, protocol: TCP}}]\n"
                     f"endpoints: [{{addresses: [127.0.0.1]}}]\n")
        self.write(f"{ns}-{name}.yaml", text + extra)

    # ---- its life
    def write_config(self):
        listeners = self.listeners or [dict(name="front", bind=f"127.0.0.1:{self.port}", namespace="shop",
                                            route="service", service="shop/web:80")]
        with open(os.path.join(self.dir, "nodeproxy.yaml"), "w") as f:
            f.write(f"node: {self.node}\nworkers: {self.workers}\nstate_dir: {self.dir}/state\nrun_dir: {self.dir}/run\n"
                    f"admin:\n  socket: {self.socket}\n  metrics: 127.0.0.1:{self.metrics}\n"
                    f"source: {self.source or f'{{kind: file, path: {self.resources}}}'}\naccess_log: {{path: {self.access_log}, format: {self.access_format}}}\n"
                    f"{self.config}\nlisteners:\n" + "".join(f"  - {json.dumps(x)}\n" for x in listeners))

    def start(self, wait=True):
        self.write_config()
        self.process = subprocess.Popen(
            self.wrapper + [os.path.join(self.tree, "nodeproxy/nodeproxy"), "-c", os.path.join(self.dir, "nodeproxy.yaml")],
            stderr=self.stderr or open(self.log, "ab"), stdin=subprocess.DEVNULL, env=dict(os.environ, **self.env))
        if wait:
            self.await_ready()
        return self

    def await_ready(self, seconds=DEADLINE):
        def ready():
            assert self.process.poll() is None, f"nodeproxy left with {self.process.returncode}"
            return self.status().get("ready")
        until("nodeproxy to be ready", ready, seconds)

    def keeper(self):
        """The process itself, or its child when a wrapper (unshare) stands between."""
        below = [p for p, comm in self.pids().items() if comm == "nodeproxy"] if self.wrapper else []
        return min(below, default=self.process.pid)

    def stop(self, seconds=DEADLINE):
        os.kill(self.keeper(), signal.SIGTERM)
        return self.process.wait(seconds)

    # ---- questions
    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "admin/nodeproxyctl"), "-s", self.socket, *words],
                              capture_output=True, text=True, timeout=DEADLINE)

    def ctl_json(self, *words):
        r = self.ctl(*words, "-o", "json")
        if r.returncode != 0:
            raise ValueError(f"nodeproxyctl {' '.join(words)}: {r.returncode}: {r.stderr.strip()}")
        return json.loads(r.stdout)

    def _call(self, method, path):
        c = http.client.HTTPConnection("localhost", timeout=DEADLINE)
        c.sock = socket.socket(socket.AF_UNIX)
        try:
            c.sock.settimeout(DEADLINE)
            c.sock.connect(self.socket)
            c.request(method, "/v1/" + path)
            r = c.getresponse()
            return r.status, json.loads(r.read())
        finally:
            c.close()

    def api(self, path):
        """An answer of the admin API, without the price of a process."""
        return self._call("GET", path)[1]

    def order(self, path):
        """Likewise, of something to do: (status, what is said)."""
        return self._call("POST", path)

    def status(self):
        return self.ctl_json("status")

    def metric(self, name, /, **labels):
        """Sum of a metric over all label sets that contain labels."""
        c = http.client.HTTPConnection("127.0.0.1", self.metrics, timeout=10)
        c.request("GET", "/metrics")
        total, want = 0.0, [f'{k}="{v}"' for k, v in labels.items()]
        for line in c.getresponse().read().decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(w in head for w in want):
                total += float(value)
        c.close()
        return total

    def get(self, path="/", method="GET", body=None, headers=None, timeout=10):
        """One request on a connection of its own."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            c.request(method, path, body=body, headers=headers or {})
            return Answer(c.getresponse())
        finally:
            c.close()

    def logged(self, *patterns):
        """The access log as text, once each of the patterns is found in it: lines come after what they tell of."""
        def text():
            log = open(self.access_log, errors="replace").read()
            return log if all(re.search(p, log) for p in patterns) else None
        return until(f"{patterns} in the access log", text)

    def pids(self):
        """{pid: comm} of the whole process tree below (and with) the keeper; what the forker or the
        master has forked just now, and has its name still, is an errand."""
        parent = {}
        for p in os.listdir("/proc"):
            if p.isdigit():
                with contextlib.suppress(OSError):
                    s = open(f"/proc/{p}/stat").read()
                    comm, rest = s[s.index("(") + 1:s.rindex(")")], s[s.rindex(")") + 2:].split()
                    if rest[0] != "Z":
                        parent[int(p)] = (int(rest[1]), comm)
        found, more = {self.process.pid: parent.get(self.process.pid, (0, "nodeproxy"))[1]}, True
        while more:
            more = {p: c for p, (pp, c) in parent.items() if pp in found and p not in found}
            found.update(more)
        forks = ("nodeproxy-mastr", "nodeproxy-forkr")
        return {p: "nodeproxy-erran" if c in forks and parent.get(parent[p][0], (0, ""))[1] == c else c
                for p, c in found.items()}
