#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Captured pods of one host that call each other: straight through one worker, or by their own
interfaces."""
import contextlib
import ipaddress
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402
from capture_test import die, has, namespace, policy_routing, saw, told  # noqa: E402


def forwarded(host, drop):
    """Counts SYNs that the host forwards between its pods, and may drop all packets there."""
    rules = (f"table inet watch {{}}\ndelete table inet watch\ntable inet watch {{ counter syn {{ }}\n"
             f"chain between {{ type filter hook forward priority 0; "
             f"tcp flags & (syn | ack) == syn counter name syn\n{'drop' if drop else ''}\n}}\n}}\n")
    r = subprocess.run(["nsenter", f"--net={lab.RUN}/{host.ns}", "nft", "-f", "-"], input=rules, text=True, capture_output=True)
    assert r.returncode == 0, r.stderr


def syns(host):
    r = subprocess.run(["nsenter", f"--net={lab.RUN}/{host.ns}", "nft", "list", "counter", "inet", "watch", "syn"],
                       capture_output=True, text=True)
    return int(re.search(r"packets (\d+)", r.stdout)[1])


def lines(host, what):
    return len(re.findall(what, open(host.np.access_log).read()))


def counted(pod, way):
    return next(p[way] for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name)


def known(pod):
    """Every worker knows its addresses: the master has them, and what it said before a reload has been heard."""
    def addresses():
        p = next((p for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name), {"addresses": []})
        return sorted(map(ipaddress.ip_address, p["addresses"]), key=str) == sorted(map(ipaddress.ip_address, pod.addresses), key=str)
    np.until(f"addresses of {pod.name}", addresses)
    r = pod.host.np.ctl("reload")
    assert r.returncode == 0, r.stderr


def one_pass_with_nothing_on_the_veth():
    with lab.Lab(pods=3) as mesh:
        client, server, other = mesh.pods
        host = mesh.hosts[0]
        mesh.service("shop/web", 80, [server])
        mesh.start()
        client.add(), server.add(), other.add()
        known(server)
        forwarded(host, drop=True)
        with server.serve(8080) as at:
            for i, family in enumerate(("", "/6")):
                for who in (client, other):
                    assert who.ask(mesh.vip["shop/web" + family], 80) == b"pod01 hello\n"
                    assert saw(at, *who.addresses), at.seen
                    assert who.ask(server.addresses[i], 8080) == b"pod01 hello\n"      # its own address
                    assert saw(at, who.addresses[i]), at.seen
            assert server.ask(mesh.vip["shop/web"], 80) == b"pod01 hello\n"        # itself
            assert syns(host) == 0
            np.until("nine lines of those who called", lambda: lines(host, "listener=out:") == 9)
            assert lines(host, "listener=in:") == 0
            assert counted(server, "in")["connections_total"] == 9
            np.until("all gone", lambda: counted(server, "in")["connections"] == 0)
            # the ports of nodeproxy itself are no way in
            for port in (15006,):
                with contextlib.suppress(OSError), client.dial(server.ip4, port, timeout=1) as s:
                    s.sendall(b"x")
                    assert s.recv(10) == b""


def by_the_veth_where_others_must_see_it():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        host = mesh.hosts[0]
        mesh.service("shop/web", 80, [server])
        namespace(host, same_host="veth")
        mesh.start()
        client.add(), server.add()
        known(server)
        has(client, same_host="veth")
        forwarded(host, drop=False)
        with server.serve(8080) as at:
            for family in ("", "/6"):
                assert client.ask(mesh.vip["shop/web" + family], 80) == b"pod01 hello\n"
                assert saw(at, client.ip4), at.seen
            assert client.ask(server.ip6, 8080) == b"pod01 hello\n" and saw(at, client.ip6)
            assert syns(host) == 3
            np.until("three lines each", lambda: lines(host, "listener=in:pod01") == lines(host, "listener=out:pod00") == 3)
            namespace(host)     # live
            np.until("straight", lambda: client.ask(server.ip4, 8080) == b"pod01 hello\n" and lines(host, "listener=out:") > lines(host, "listener=in:"))
            before = syns(host)
            assert client.ask(server.ip6, 8080) == b"pod01 hello\n" and syns(host) == before


def http(c):
    """Answers any number of requests with the address of who is on the other end."""
    c.settimeout(30)
    peer, data = c.getpeername()[0], b""
    while True:
        while b"\r\n\r\n" not in data:
            more = c.recv(4096)
            if not more:
                return
            data += more
        data = data.split(b"\r\n\r\n", 1)[1]
        c.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(peer)}\r\n\r\n{peer}".encode())


def get(pod, address, times=1):
    bodies = []
    with pod.dial(address, 80) as s, s.makefile("rb") as f:
        for _ in range(times):
            s.sendall(b"GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n")
            assert f.readline().startswith(b"HTTP/1.1 200 "), "the status"
            n = 0
            while (line := f.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    n = int(line.split(b":")[1])
            bodies.append(f.read(n).decode())
    return bodies


def connections_are_kept_for_their_own_callers():
    with lab.Lab(pods=3) as mesh:
        one, server, two = mesh.pods
        mesh.service("shop/web", 80, [server], app="http")
        mesh.start()
        for pod in mesh.pods:
            pod.add()
        known(server)
        with server.serve(8080, fn=http) as at:
            for _ in range(6):
                for pod in (one, two):
                    assert get(pod, mesh.vip["shop/web"], 2) == [pod.ip4] * 2
            assert len(at.seen) <= 4, "two workers, two callers"
        namespace(server.host, source_address="proxy-protocol")
        has(server, source_address="proxy-protocol")
        with server.serve(9000, fn=told), one.dial(server.ip6, 9000) as s:
            s.sendall(b"first\n")
            line = lab.read_line(s).decode().split()
            assert [ipaddress.ip_address(a) for a in line[2:6:2]] == [ipaddress.ip_address(one.ip6), ipaddress.ip_address(server.ip6)], line
            assert int(line[3]) == s.getsockname()[1], line


def a_pod_that_goes_takes_its_guests_with_it():
    with lab.Lab(pods=3) as mesh:
        client, server, spare = mesh.pods
        mesh.service("shop/web", 80, [server, spare])
        mesh.start()
        for pod in mesh.pods:
            pod.add()
        known(server), known(spare)
        with spare.serve(8080):
            here = server.serve(8080)
            held = client.dial(server.ip4, 8080)
            held.sendall(b"held\n")
            assert lab.read_line(held) == b"pod01 held\n"
            server.remove()

            def ended():
                try:
                    return held.recv(100) == b""
                except ConnectionResetError:
                    return True
            np.until("the caller to learn it", ended)
            here.__exit__()     # or its sockets would keep the namespace
            server.delete()
            # its endpoint is still there, and is tried in vain before the other one
            for _ in range(6):
                assert client.ask(mesh.vip["shop/web"], 80) == b"pod02 hello\n"


def a_pod_that_moves_is_where_it_is():
    with lab.Lab(pods=2, config="pods: {check: 1s}") as mesh:
        client, server = mesh.pods
        mesh.start()
        client.add(), server.add()
        known(server)
        forwarded(server.host, drop=True)
        with server.serve(8080):
            lab.ip(f"addr add 10.{100 + server.host.number}.{server.number}.77/24 dev eth0", ns=server.ns)
            server.addresses.append(f"10.{100 + server.host.number}.{server.number}.77")
            known(server)
            listener = lab.inside(server.ns, lambda: socket.create_server((server.addresses[-1], 8081)))
            with listener, client.dial(server.addresses[-1], 8081):
                assert ipaddress.ip_address(listener.accept()[1][0]) == ipaddress.ip_address(client.ip4)


def who_comes_anew_knows_all_of_them():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        host = mesh.hosts[0].np
        mesh.start()
        client.add(), server.add()
        known(server)
        forwarded(mesh.hosts[0], drop=True)

        def works():
            with contextlib.suppress(OSError), client.dial(server.ip6, 8080) as s:
                s.sendall(b"hello\n")
                return lab.read_line(s) == b"pod01 hello\n"
            return False
        with server.serve(8080) as at:
            assert works() and saw(at, client.ip6)
            for w in host.status()["workers"]:
                os.kill(w["pid"], 9)
            np.until("other workers to know it", works)
            assert saw(at, client.ip6)
            die(mesh.hosts[0], "nodeproxy-mastr")
            np.until("ready", lambda: host.status()["ready"])
            np.until("the next master to lead it there", works)
            assert saw(at, client.ip6)
            r = host.ctl("upgrade")
            assert r.returncode == 0, r.stderr
            np.until("the next build to know it", works)
            assert saw(at, client.ip6)
            # what another master put is taken away by this one
            server.remove()
            np.until("nothing of ours in it", lambda: policy_routing(server) == (0, False))


def workers_that_a_pod_is_not_at_home_with_lead_to_it():
    """Two of four are: the others have no socket inside it until their first guest comes."""
    with lab.Lab(pods=5) as mesh:
        server, *clients = mesh.pods
        mesh.hosts[0].np.workers = 4
        mesh.service("shop/web", 80, [server])
        mesh.start()
        for pod in mesh.pods:
            pod.add()
        known(server)
        forwarded(mesh.hosts[0], drop=True)
        with server.serve(8080):
            for family in ("", "/6"):
                for pod in clients:
                    for _ in range(4):
                        assert pod.ask(mesh.vip["shop/web" + family], 80) == b"pod00 hello\n"
        assert counted(server, "in")["connections_total"] == 32
        assert set(r["reason"] for r in mesh.hosts[0].np.api("reasons")["reasons"] if r["count"]) == {"DONE"}


TESTS = [one_pass_with_nothing_on_the_veth, by_the_veth_where_others_must_see_it, connections_are_kept_for_their_own_callers,
         workers_that_a_pod_is_not_at_home_with_lead_to_it, a_pod_that_goes_takes_its_guests_with_it, a_pod_that_moves_is_where_it_is,
         who_comes_anew_knows_all_of_them]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
