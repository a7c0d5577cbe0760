#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Names inside captured pods: what a pod asks at port 53, by UDP and TCP, is answered by us."""
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402
import dns  # noqa: E402

ANYBODY = {4: "192.0.2.53", 6: "2001:db8::53"}     # resolvers that nobody is; the pod has a route there


def ask(pod, name, kind="A", at=ANYBODY[4], **more):
    return lab.inside(pod.ns, lambda: dns.ask(at, name, kind, **more))


def names_of_the_mesh_by_udp_and_tcp():
    with lab.Lab(pods=3) as mesh:
        client, one, two = mesh.pods
        mesh.service("shop/web", 80, [one, two])
        mesh.start()
        client.add()
        for at in ANYBODY.values():
            for tcp in (False, True):
                for name in ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local."):
                    assert ask(client, name, at=at, tcp=tcp).texts == [mesh.vip["shop/web"]], (name, at, tcp)
                    assert ask(client, name, "AAAA", at=at, tcp=tcp).texts == [mesh.vip["shop/web/6"]], (name, at, tcp)
                m = ask(client, "nope.shop.svc.cluster.local", at=at, tcp=tcp)
                assert (m.rcode, m.answers) == ("NXDOMAIN", []), m.rcode
        assert [ttl for _, _, ttl in ask(client, "web").answers] == [5]

        # many on one connection
        def pipelined():
            with socket.create_connection((ANYBODY[4], 53), lab.SYNC) as s:
                for i in range(40):
                    q = dns.query("web.shop", "A", ident=i)
                    s.sendall(struct.pack(">H", len(q)) + q)
                return [dns.Message(dns.read_message(s)) for _ in range(40)]
        assert [(m.id, m.texts) for m in lab.inside(client.ns, pipelined)] == [(i, ["10.96.0.1"]) for i in range(40)]


def programs_find_services_by_name():
    with lab.Lab(pods=2) as mesh, tempfile.NamedTemporaryFile("w", suffix=".resolv.conf") as conf:
        client, server = mesh.pods
        mesh.service("shop/web", 80, [server])
        mesh.start()
        client.add(), server.add()
        conf.write(f"search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver {ANYBODY[4]}\noptions ndots:5\n")
        conf.flush()
        os.chmod(conf.name, 0o644)
        for name in ("web", "web.shop", "web.shop.svc.cluster.local"):
            r = subprocess.run(["nsenter", f"--net={client.netns}", "unshare", "-m", "sh", "-c",
                                f"mount --bind {conf.name} /etc/resolv.conf && exec getent ahosts {name}"],
                               capture_output=True, text=True, timeout=np.DEADLINE)
            assert {line.split()[0] for line in r.stdout.splitlines()} == {"10.96.0.1", "fd96::1"}, (name, r.stdout, r.stderr)
        r = subprocess.run(["nsenter", f"--net={client.netns}", "dig", "+short", "+tcp", f"@{ANYBODY[6]}", "web.shop.svc.cluster.local", "AAAA"],
                           capture_output=True, text=True, timeout=np.DEADLINE)
        assert r.stdout == "fd96::1\n", (r.stdout, r.stderr)
        with server.serve(8080):
            assert client.ask(ask(client, "web").texts[0], 80) == b"pod01 hello\n"


def only_what_was_redirected_is_answered():
    with lab.Lab(pods=2) as mesh:
        client, other = mesh.pods
        mesh.service("shop/web", 80, [other])
        mesh.start()
        client.add()

        def direct(to):
            with socket.socket(lab.family(to), socket.SOCK_DGRAM) as s:
                s.settimeout(0.3)
                s.connect((to, 15053))
                s.send(dns.query("web"))
                try:
                    return dns.Message(s.recv(512)).texts
                except (socket.timeout, ConnectionRefusedError):
                    return None
        for to in ("127.0.0.1", "::1", client.ip4, client.ip6):
            assert lab.inside(client.ns, lambda to=to: direct(to)) is None, to
            assert lab.inside(other.ns, lambda to=to: direct(to)) is None, to
        # what the pod serves itself at port 53 is its own
        with dns.Resolver(["127.0.0.1", client.ip4], lambda q, tcp: dns.reply(q, ("A", "192.0.2.1", 1)),
                          lambda fn: lab.inside(client.ns, fn)):
            assert ask(client, "web", at="127.0.0.1").texts == ["192.0.2.1"]
            assert ask(client, "web", at=client.ip4).texts == ["192.0.2.1"]
            assert ask(other, "web", at=client.ip4).texts == ["192.0.2.1"]


TESTS = [names_of_the_mesh_by_udp_and_tcp, programs_find_services_by_name, only_what_was_redirected_is_answered]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
