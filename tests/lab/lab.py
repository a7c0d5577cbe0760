# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""A mesh on one machine: each host is a network namespace that runs its own nodeproxy, each pod a
namespace behind it, IPv4 and IPv6, all hosts on one wire.  Built in about a second; torn down whole,
also what a run that was killed has left (the next one sweeps it away, and its daemons die with it).

    with lab.Lab(hosts=2, pods=2) as mesh:
        web, client = mesh.hosts[0].pods[0], mesh.hosts[1].pods[0]
        mesh.service("shop/web", 80, [web])
        mesh.start()
        web.add(), client.add()
        with web.serve(8080), client.dial(mesh.vip["shop/web"], 80) as s:
            ...

Sockets are made inside a pod by a thread that enters its namespace and ends: the test itself, and all
its other threads, stay where they are."""
import contextlib
import ctypes
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import np  # noqa: E402

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
RUN = "/run/netns"
SYNC = 5    # s: of each read or write of a test
PATIENCE = 20   # s: of a call of a Caller


def ip(*lines, ns=None):
    """Lines of ip(8), all in one process."""
    text = "".join(line + "\n" for line in lines)
    r = subprocess.run(["ip", *(["-n", ns] if ns else []), "-batch", "-"], input=text, text=True, capture_output=True)
    assert r.returncode == 0, f"ip {ns or ''}: {r.stderr}\n{text}"


def sweep():
    """What runs left behind that were killed."""
    for name in os.listdir(RUN) if os.path.isdir(RUN) else []:
        m = re.fullmatch(r"npl(\d+)-\w+", name)
        if m and not os.path.exists(f"/proc/{m[1]}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def enter(ns):
    """This thread is in the namespace from now on."""
    fd = os.open(f"{RUN}/{ns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


def inside(ns, fn):
    """fn() in a thread that is in the namespace; its value."""
    out = {}

    def run():
        try:
            enter(ns)
            out["value"] = fn()
        except BaseException as e:  # pylint: disable=broad-except
            out["error"] = e
    t = threading.Thread(target=run)
    t.start()
    t.join()
    if "error" in out:
        raise out["error"]
    return out["value"]


def sysctl(ns, **values):
    """net/NAME = value, with / written as __, in the namespace."""
    def write():
        for name, value in values.items():
            with open(f"/proc/sys/net/{name.replace('__', '/')}", "w") as f:
                f.write(str(value))
    inside(ns, write)


def new_netns(ns):
    """Without the seconds in which IPv6 looks for who else has its addresses, and speaks to nobody."""
    ip(f"netns add {ns}")
    sysctl(ns, ipv6__conf__default__accept_dad=0, ipv6__conf__all__accept_dad=0)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(address, port, timeout=SYNC):
    s = socket.socket(family(address))
    s.settimeout(timeout)
    s.connect((address, port))
    return s


class Server:
    """A TCP server in a pod, a thread per connection: says hello (if it has one) first, then answers
    every line with `name line`.  Connections are in .open."""

    def __init__(self, pod, port, hello=b"", fn=None):
        self.name, self.hello, self.fn, self.seen, self.open = pod.name.encode(), hello, fn, [], []
        self.listeners = [inside(pod.ns, lambda a=a: self._listen(a, port)) for a in pod.addresses]
        for s in self.listeners:
            threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    @staticmethod
    def _listen(address, port):
        s = socket.socket(family(address))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        s.listen(64)
        return s

    def _accept(self, s):
        with contextlib.suppress(OSError):
            while True:
                c, peer = s.accept()
                c.settimeout(30)
                self.seen.append(peer[0])
                self.open.append(c)
                threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError), c:
            if self.fn:
                self.fn(c)
                return
            c.sendall(self.hello)
            while line := read_line(c):
                c.sendall(self.name + b" " + line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.listeners + self.open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


def read_line(s):
    line = b""
    while not line.endswith(b"\n"):
        more = s.recv(1)
        if not more:
            break
        line += more
    return line


class Caller(threading.Thread):
    """In a pod: one call over a connection of its own and one over a kept one, again and again.  What
    went wrong with each, and when it began, is in .failed."""

    def __init__(self, pod, address):
        super().__init__(daemon=True)
        self.pod, self.address, self.calls, self.failed, self.ended = pod, address, 0, [], False

    @contextlib.contextmanager
    def noted(self, kind):
        began = time.monotonic()
        try:
            yield
        except OSError as e:
            self.failed.append((began, kind, f"{e!r} in {self.pod.name} to {self.address}"))

    @staticmethod
    def call(s):
        s.sendall(b"hello\n")
        said = read_line(s)
        if not said.endswith(b" hello\n"):
            raise ConnectionError(f"answered with {said}")

    def run(self):
        enter(self.pod.ns)
        kept = None
        while not self.ended:
            with self.noted("new"), connect(self.address, 80, PATIENCE) as s:
                self.call(s)
            with self.noted("kept" if kept else "new"):
                s, kept = kept or connect(self.address, 80, PATIENCE), None
                self.call(s)
                kept = s
            self.calls += 1
            threading.Event().wait(0.05)


class Pod:
    def __init__(self, host, number, ipv4, ipv6):
        self.host, self.number, self.name = host, number, f"pod{host.number}{number}"
        self.ns = f"{host.lab.prefix}-{self.name}"
        self.ip4 = f"10.{100 + host.number}.{number}.2" if ipv4 else None
        self.ip6 = f"fd10:{host.number}:{number}::2" if ipv6 else None
        self.addresses = [a for a in (self.ip4, self.ip6) if a]
        self.namespace = "shop"

    @property
    def netns(self):
        return f"{RUN}/{self.ns}"

    def build(self):
        h, n, veth = self.host.number, self.number, f"p{self.number}"
        new_netns(self.ns)
        ip(f"link add {veth} type veth peer name eth0 netns {self.ns}", f"link set {veth} up",
           f"addr add 10.{100 + h}.{n}.1/24 dev {veth}", f"addr add fd10:{h}:{n}::1/64 dev {veth} nodad", ns=self.host.ns)
        lines = ["link set lo up", "link set eth0 up"]
        if self.ip4:
            lines += [f"addr add {self.ip4}/24 dev eth0", f"route add default via 10.{100 + h}.{n}.1"]
        if self.ip6:
            lines += [f"addr add {self.ip6}/64 dev eth0 nodad", f"route add default via fd10:{h}:{n}::1"]
        ip(*lines, ns=self.ns)

    def build_again(self):
        """In another namespace of the same name."""
        subprocess.run(["ip", "-n", self.host.ns, "link", "del", f"p{self.number}"], capture_output=True)
        self.build()

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.ns], capture_output=True)

    # ---- enrolment
    def add(self, *more):
        r = self.host.np.ctl("pod", "add", self.name, "--namespace", self.namespace, "--netns", self.netns, *more)
        assert r.returncode == 0, r.stderr
        return self

    def remove(self):
        r = self.host.np.ctl("pod", "remove", self.name, "--namespace", self.namespace)
        assert r.returncode == 0, r.stderr

    def order(self, what):
        """add or remove, by the API itself: without the price of a process."""
        words = urllib.parse.urlencode(dict(name=self.name, namespace=self.namespace, netns=self.netns))

        def taken():
            status, said = self.host.np.order(f"pod-{what}?{words}")
            assert status == 200 or "ask again in a moment" in said["error"], said
            return status == 200
        np.until(f"{what} {self.name}", taken)

    def rules(self):
        r = subprocess.run(["nsenter", f"--net={self.netns}", "nft", "list", "tables"], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        return "inet nodeproxy" in r.stdout

    # ---- traffic
    def serve(self, port, **more):
        return Server(self, port, **more)

    def dial(self, address, port, timeout=SYNC):
        return inside(self.ns, lambda: connect(address, port, timeout))

    def ask(self, address, port, line=b"hello\n", timeout=SYNC):
        """One line there and back on a connection of its own."""
        with self.dial(address, port, timeout) as s:
            s.sendall(line)
            return read_line(s)


class LabHost:
    def __init__(self, lab, number, pods, ipv4, ipv6, config):
        self.lab, self.number = lab, number
        self.ns = f"{lab.prefix}-host{number}"
        self.pods = [Pod(self, i, ipv4, ipv6) for i in range(pods)]
        # The keeper dies with us, and everything below it with the keeper.
        self.np = np.Host(workers=2, config=config,
                          wrapper=["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={RUN}/{self.ns}"])

    def build(self):
        n, others = self.number, [k for k in range(self.lab.count) if k != self.number]
        new_netns(self.ns)
        ip(f"link add h{n} type veth peer name wire netns {self.ns}", f"link set h{n} master br0 up", ns=self.lab.wire)
        ip("link set lo up", "link set wire up", f"addr add 10.99.0.{n + 1}/24 dev wire",
           f"addr add fd99::{n + 1}/64 dev wire nodad",
           *[f"route add 10.{100 + k}.0.0/16 via 10.99.0.{k + 1}" for k in others],
           *[f"route add fd10:{k}::/32 via fd99::{k + 1}" for k in others], ns=self.ns)
        sysctl(self.ns, ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        for p in self.pods:
            p.build()


class Lab:
    def __init__(self, hosts=1, pods=2, ipv4=True, ipv6=True, config="timeouts: {drain: 2000}"):
        np.need_root()
        for tool in ("ip", "nsenter", "setpriv", "nft"):
            if subprocess.run(["which", tool], capture_output=True).returncode:
                np.skip(f"{tool} is not installed")
        os.makedirs(RUN, exist_ok=True)
        sweep()
        self.prefix, self.count, self.vip = f"npl{os.getpid()}", hosts, {}
        self.wire = f"{self.prefix}-wire"
        self.hosts = [LabHost(self, i, pods, ipv4, ipv6, config) for i in range(hosts)]

    @property
    def pods(self):
        return [p for h in self.hosts for p in h.pods]

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.stack.callback(self._delete)
        try:
            try:
                new_netns(self.wire)
            except AssertionError as e:
                np.skip(f"no network namespaces here: {e}")
            ip("link add br0 type bridge", "link set br0 up", ns=self.wire)
            for h in self.hosts:
                h.build()
                self.stack.push(h.np)
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *what):
        return self.stack.__exit__(*what)

    def _delete(self):
        for ns in [self.wire] + [h.ns for h in self.hosts] + [p.ns for p in self.pods]:
            subprocess.run(["ip", "netns", "del", ns], capture_output=True)

    def service(self, key, port, pods, target=8080, app="tcp"):
        """On every host: a Service with an address of each family, its endpoints these pods."""
        ns, name = key.split("/")
        n = len(self.vip) + 1
        self.vip[key], self.vip[key + "/6"] = f"10.96.0.{n}", f"fd96::{n}"
        vips = sorted((f"'{self.vip[k]}'" for k in (key, key + "/6")), reverse=not any(p.ip4 for p in self.pods))
        text = (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {ns}}}\n"
                f"spec: {{clusterIP: {vips[0]}, clusterIPs: [{', '.join(vips)}], "
                f"ports: [{{name: main, port: {port}, protocol: TCP, appProtocol: {app}}}]}}\n")
        for kind, addresses in (("IPv4", [p.ip4 for p in pods if p.ip4]), ("IPv6", [p.ip6 for p in pods if p.ip6])):
            if addresses:
                quoted = ", ".join(f"{{addresses: ['{a}']}}" for a in addresses)
                text += (f"---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                         f"metadata: {{name: {name}-{kind.lower()}, namespace: {ns}, labels: {{kubernetes.io/service-name: {name}}}}}\n"
                         f"addressType: {kind}\nports: [{{name: main, port: {target}, protocol: TCP}}]\nendpoints: [{quoted}]\n")
        for h in self.hosts:
            h.np.write(f"{ns}-{name}.yaml", text)

    def start(self):
        for h in self.hosts:
            h.np.start(wait=False)
        for h in self.hosts:
            h.np.await_ready()
        return self
