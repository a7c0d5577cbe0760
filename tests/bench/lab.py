# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What the measuring scripts here share: one nodeproxy in a directory of its own, its resources, its
admin socket, its memory.

The binary is $NODEPROXY, else _install/sbin/nodeproxy, else _build/nodeproxy/nodeproxy, of this tree.
Each script runs in a network namespace of its own (unshare -n, loopback up), so ports never clash;
only processes started here are signalled.
"""
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CPUS = os.sched_getaffinity(0)
TOP = os.path.dirname(os.path.dirname(HERE))


def own_namespace():
    """Runs the script again in a fresh network namespace; needs root, as nodeproxy does."""
    if os.geteuid() != 0:
        sys.exit("needs root: nodeproxy starts as root")
    if not os.environ.get("NP_BENCH_NS"):
        os.environ["NP_BENCH_NS"] = "1"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
                              sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:])
    with open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as f:
        f.write("reno")          # a pacing default (bbr) would measure its timers
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def binary():
    for p in (os.environ.get("NODEPROXY"), TOP + "/_install/sbin/nodeproxy", TOP + "/_build/nodeproxy/nodeproxy"):
        if p and os.path.isfile(p):
            return p
    sys.exit("no nodeproxy: ./quickstart --build, or NODEPROXY=PATH")


def load_tool(tmp, name="load", more=()):
    """tests/bench/NAME.c, compiled into tmp, with these words more for the compiler."""
    out = os.path.join(tmp, name)
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-I", TOP, "-o", out,
                    f"{HERE}/{name}.c", *more], check=True)
    return out


def boringssl():
    """For load_tool(): a tool that speaks TLS, with the library of Debian's android-libboringssl-dev."""
    where = subprocess.run([os.environ.get("CC", "cc"), "-print-multiarch"], check=True, capture_output=True, text=True).stdout.strip()
    return ["-I/usr/include/android", f"-L/usr/lib/{where}/android", f"-Wl,-rpath,/usr/lib/{where}/android", "-lssl", "-lcrypto"]


def tls(cert, key):
    """For a listener: it terminates TLS with these files."""
    return f"tls: terminate, tls_certificate: {cert}, tls_key: {key}"


def service(ns, name, port, target, endpoints, app="http", slice_ports=None):
    """Two documents: a Service and its EndpointSlice; endpoints are addresses."""
    return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {ns}}}
spec:
  ports: [{{name: main, port: {port}, targetPort: {target}, protocol: TCP, appProtocol: {app}}}]
---
""" + endpoint_slice(ns, name, target, endpoints)


def endpoint_slice(ns, name, target, endpoints):
    eps = ", ".join(f"{{addresses: [{a}]}}" for a in endpoints)
    return f"""apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {ns}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: main, port: {target}, protocol: TCP}}]
endpoints: [{eps}]
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Nodeproxy:
    """with Nodeproxy(resources={"a.yaml": text}, listeners=[(port, namespace, service)]) as np: ...
    A listener may have more fields, as text."""

    def __init__(self, resources, listeners, workers="1", extra=""):
        self.dir = tempfile.mkdtemp(prefix="np-bench-")
        os.chmod(self.dir, 0o755)
        self.source = os.path.join(self.dir, "resources.d")
        os.mkdir(self.source)
        for name, text in resources.items():
            self.write(name, text)
        text = f"""node: bench
workers: {workers}
state_dir: {self.dir}/state
run_dir: {self.dir}/run
admin: {{socket: {self.dir}/run/admin.sock, metrics: ""}}
source: {{kind: file, path: {self.source}}}
access_log: {{path: {self.dir}/access.log}}
{extra}
listeners:
"""
        for port, ns, svc, *more in listeners:
            fields = ", ".join([f'name: l{port}, bind: "127.0.0.1:{port}", namespace: {ns}, route: service, service: "{svc}"', *more])
            text += f"  - {{{fields}}}\n"
        self.config = os.path.join(self.dir, "nodeproxy.yaml")
        with open(self.config, "w") as f:
            f.write(text)
        self.log = os.path.join(self.dir, "log")
        self.proc = None

    def write(self, name, text):
        """As an editor or a config tool does it: a new file, then rename."""
        tmp = os.path.join(self.dir, "new")
        with open(tmp, "w") as f:
            f.write(text)
        os.rename(tmp, os.path.join(self.source, name))

    def __enter__(self):
        def unpin():             # a script that pins itself does not pin nodeproxy
            os.sched_setaffinity(0, CPUS)
        with open(self.log, "wb") as f:
            self.started = time.monotonic()
            self.proc = subprocess.Popen([binary(), "-c", self.config], stdin=subprocess.DEVNULL,
                                         stdout=f, stderr=f, preexec_fn=unpin)
        try:
            self.wait(lambda s: s["ready"], 60)
        except BaseException:
            self.__exit__()
            raise
        self.ready_s = time.monotonic() - self.started
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            tree = self.pids()
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(35)
            except subprocess.TimeoutExpired:
                for p in tree:
                    try:
                        os.kill(p, signal.SIGKILL)
                    except OSError:
                        pass
                self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def get(self, path):
        c = UnixConnection(self.dir + "/run/admin.sock")
        try:
            c.request("GET", "/v1/" + path)
            return json.loads(c.getresponse().read())
        finally:
            c.close()

    def wait(self, condition, secs, pause=0.01):
        end = time.monotonic() + secs
        last = None
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise RuntimeError("nodeproxy exited:\n" + open(self.log).read()[-2000:])
            try:
                last = self.get("status")
                if condition(last):
                    return last
            except (OSError, ValueError, KeyError, http.client.HTTPException) as e:
                last = e
            time.sleep(pause)
        raise RuntimeError(f"not in {secs} s: last status {last}\n" + open(self.log).read()[-2000:])

    def pids(self):
        kids = {}
        for p in os.listdir("/proc"):
            if p.isdigit():
                try:
                    st = open(f"/proc/{p}/stat").read()
                except OSError:
                    continue
                kids.setdefault(int(st[st.rindex(")") + 2:].split()[1]), []).append(int(p))
        out, todo = [], [self.proc.pid]
        while todo:
            out.append(todo.pop())
            todo += kids.get(out[-1], [])
        return out

    def memory(self):
        """PSS in KiB per process name, all of them summed under 'sum'."""
        out = {}
        for p in self.pids():
            try:
                name = open(f"/proc/{p}/cmdline", "rb").read().split(b"\0")[0].decode().split("/")[-1]
                pss = int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M)[1])
            except (OSError, TypeError):
                continue
            out[f"{name} {p}"] = pss
        out["sum"] = sum(out.values())
        return out

    def cpu_s(self):
        """CPU seconds of all its processes."""
        total = 0
        for p in self.pids():
            try:
                total += int(open(f"/proc/{p}/schedstat").read().split()[0])
            except OSError:
                pass
        return total / 1e9


def kernel_memory():
    """KiB of socket buffers (sockstat) and slab of this machine."""
    pages = int(re.search(r"^TCP:.* mem (\d+)", open("/proc/net/sockstat").read(), re.M)[1])
    slab = int(re.search(r"^Slab:\s+(\d+)", open("/proc/meminfo").read(), re.M)[1])
    return pages * 4, slab


def machine():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())[1]
    return f"{os.cpu_count()} x {model}, Linux {os.uname().release}"
