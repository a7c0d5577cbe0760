#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What somebody in a pod may try who has all rights there, or few; all the while others, on his host and
on another one, call each other, and not one call of theirs fails.  (Our own ports: pods_test.py.)"""
import contextlib
import errno
import os
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

SO_MARK, OUR_MARK = 36, 0x539
QUOTA = 60      # connections of his tenant, of each of two workers
DESCRIPTORS = 700       # of each process
SYN, ACK, FIN, RST = 2, 16, 1, 4

# Without CAP_NET_RAW and CAP_NET_ADMIN.
FEW_RIGHTS = f"""
import socket, sys
for what in ("raw", "mark", "transparent", "bind"):
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW if what == "raw" else socket.SOCK_STREAM, 6)
        if what == "mark":
            s.setsockopt(socket.SOL_SOCKET, {SO_MARK}, {OUR_MARK})
        elif what == "transparent":
            s.setsockopt(socket.SOL_IP, 19, 1)
        elif what == "bind":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("127.0.0.1", 15001))
        sys.exit(what + " was allowed")
    except OSError as e:
        if e.errno not in ({errno.EPERM}, {errno.EADDRINUSE} if what == "bind" else 0):
            sys.exit(f"{{what}}: {{e}}")
"""


class Others:
    """Who must not notice."""

    def __init__(self, *callers):
        self.callers = callers
        for c in callers:
            c.start()
        self.unharmed("nothing")

    def unharmed(self, by):
        was = [c.calls for c in self.callers]
        np.until(f"calls of others, with {by}", lambda: all(c.calls > n + 2 for c, n in zip(self.callers, was)))
        assert not any(c.failed for c in self.callers), (by, [c.failed for c in self.callers])

    def stop(self):
        for c in self.callers:
            c.ended = True
        for c in self.callers:
            c.join(np.DEADLINE)


def reasons(host):
    return {r["reason"]: r["count"] for r in host.np.api("reasons")["reasons"]}


def counted(host, reason, n=1):
    np.until(f"{n} {reason}", lambda: reasons(host).get(reason, 0) >= n)


def checksum(data):
    n = sum(struct.unpack(f"!{len(data) // 2}H", data))
    n = (n >> 16) + (n & 0xffff)
    return ~(n + (n >> 16)) & 0xffff


def segment(source, to, sport, dport, flags):
    """A TCP segment in a packet of whichever source."""
    ends = socket.inet_aton(source) + socket.inet_aton(to)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, 1000, 0, 5 << 4, flags, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(ends + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)) + tcp[18:]
    return struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + ends + tcp


def few_rights(villain):
    r = subprocess.run(["nsenter", f"--net={villain.netns}", "setpriv", "--bounding-set", "-net_raw,-net_admin",
                        "--inh-caps", "-net_raw,-net_admin", sys.executable, "-c", FEW_RIGHTS], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


def raw_segments_of_others(villain, spoofed, targets, served):
    """Past the capture with our mark, and without: nobody takes him for another."""
    def send():
        for mark in (0, OUR_MARK):
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
                s.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
                s.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
                for i in range(100):
                    for flags in (SYN, SYN | ACK, ACK, FIN, RST, SYN | FIN, 0):
                        for address, port in targets:
                            with contextlib.suppress(OSError):      # some are dropped where they are sent
                                s.sendto(segment(spoofed, address, 20000 + i, port, flags), (address, 0))
    before = out_total(villain)
    lab.inside(villain.ns, send)
    assert spoofed not in served.seen, "somebody was taken for another"
    assert out_total(villain) == before, "segments without a connection were taken for one"


def out_total(pod):
    return next(p["out"]["connections_total"] for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name)


@contextlib.contextmanager
def flood(villain, address, port, n):
    """So many connections at once, which are kept."""
    def dial():
        held = []
        for _ in range(n):
            s = socket.socket()
            s.setblocking(False)
            held.append(s)
            with contextlib.suppress(BlockingIOError, OSError):
                s.connect((address, port))
        return held
    held = lab.inside(villain.ns, dial)
    try:
        yield held
    finally:
        for s in held:
            s.close()


def drip(held):
    """A byte of a head that never ends to each that is still there; those that are."""
    left = []
    for s in held:
        try:
            s.send(b"x")
            if s.recv(4096) == b"":
                raise ConnectionResetError
        except BlockingIOError:
            left.append(s)
        except OSError:
            pass
    return left


def neighbours_do_not_notice_a_hostile_pod():
    config = "timeouts: {drain: 1000, head: 1000, connect: 20000}"
    with lab.Lab(hosts=2, pods=3, config=config) as mesh, contextlib.ExitStack() as stack:
        (villain, neighbour, near), (stranger, far, _) = mesh.hosts[0].pods, mesh.hosts[1].pods
        villain.namespace = "evil"
        mesh.service("shop/web", 80, [near, far])
        mesh.service("shop/site", 81, [near], target=8081, app="http")
        for h in mesh.hosts:
            h.np.write("evil.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: Tenant\nmetadata: {name: evil}\n"
                       f"spec: {{namespaces: [evil], quotas: {{connections: {QUOTA}}}}}\n")
        mesh.start()
        for p in (villain, neighbour, near, stranger, far):
            p.add()
        served = stack.enter_context(near.serve(8080))
        stack.enter_context(far.serve(8080)), stack.enter_context(near.serve(8081))
        vip, site = mesh.vip["shop/web"], mesh.vip["shop/site"]
        others = Others(lab.Caller(neighbour, vip), lab.Caller(stranger, mesh.vip["shop/web/6"]))
        stack.callback(others.stop)

        few_rights(villain)
        raw_segments_of_others(villain, "10.101.9.9", [(vip, 80), (near.ip4, 8080), (villain.ip4, 15001), (near.ip4, 15006)], served)
        others.unharmed("raw segments")

        with flood(villain, vip, 80, 10 * QUOTA):
            counted(mesh.hosts[0], "OVER_CONNECTIONS", 10)
            others.unharmed("a flood of connections")
        np.until("his own calls to be served again", lambda: villain.ask(vip, 80).endswith(b" hello\n"))

        with flood(villain, site, 81, QUOTA) as held:
            def all_cut():
                held[:] = drip(held)
                return not held
            np.until("heads that never end to be cut", all_cut)
            counted(mesh.hosts[0], "FRONT_HEAD_TIMEOUT")
            others.unharmed("heads that never end")

        # All of his ports, which those of his connections that nodeproxy makes inside need, too.
        lab.sysctl(villain.ns, ipv4__ip_local_port_range="40000 40015")
        with flood(villain, vip, 80, 40):
            others.unharmed("a pod without ports")
        lab.sysctl(villain.ns, ipv4__ip_local_port_range="32768 60999")
        np.until("his own calls to be served again", lambda: villain.ask(vip, 80).endswith(b" hello\n"))

        # What he may do to himself: down, and no route.
        lab.ip("link set eth0 down", ns=villain.ns)
        others.unharmed("a pod that is down")
        assert mesh.hosts[0].np.status()["ready"] and mesh.hosts[1].np.status()["ready"]
        assert not any("OUR_BUG" in reasons(h) for h in mesh.hosts)
        for h in mesh.hosts:
            assert all(w["restarts"] == 0 for w in h.np.status()["workers"])


def one_that_takes_all_descriptors_keeps_nobody_out():
    """Without a quota but the default, which is more than workers have descriptors."""
    with lab.Lab(pods=3, config="timeouts: {drain: 1000, connect: 20000}") as mesh, contextlib.ExitStack() as stack:
        villain, neighbour, near = mesh.pods
        villain.namespace = "evil"
        host = mesh.hosts[0]
        mesh.service("shop/web", 80, [near])
        host.np.wrapper = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"] + host.np.wrapper
        mesh.start()
        for p in mesh.pods:
            p.add()
        stack.enter_context(near.serve(8080))
        vip = mesh.vip["shop/web"]
        with flood(villain, vip, 80, 2 * DESCRIPTORS):
            counted(host, "NO_DESCRIPTORS", 10)
            others = Others(lab.Caller(neighbour, vip))
            stack.callback(others.stop)
            others.unharmed("descriptors that one tenant has taken")
            others.stop()
        np.until("his own calls to be served again", lambda: villain.ask(vip, 80).endswith(b" hello\n"))
        assert "OUR_BUG" not in reasons(host) and all(w["restarts"] == 0 for w in host.np.status()["workers"])


TESTS = [neighbours_do_not_notice_a_hostile_pod, one_that_takes_all_descriptors_keeps_nobody_out]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
