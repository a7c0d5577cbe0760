#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Names inside captured pods: what a pod asks at port 53, by UDP and TCP, is answered by us."""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
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


class Conf:
    """A resolv.conf of the host, and settings that name it."""

    def __init__(self, *servers):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".resolv.conf")
        self.write(*servers)

    def write(self, *servers):
        with open(self.file.name, "w") as f:
            f.write("# of a test\nsearch example.org\n" + "".join(f"nameserver {a}\n" for a in servers))

    def settings(self, **more):
        more = "".join(f", {k}: {v}" for k, v in more.items())
        return f"timeouts: {{drain: 2000}}\nnames: {{resolv_conf: {self.file.name}{more}}}"


def at(pod, fn, *addresses):
    """A resolver in a pod."""
    return dns.Resolver(addresses or pod.addresses, fn, lambda make: lab.inside(pod.ns, make))


def count(host, name):
    return lab.inside(host.ns, lambda: sum(host.np.metric(f"nodeproxy_worker_{name}", worker=str(i)) for i in range(2)))


def kept(host, worker):
    return lab.inside(host.ns, lambda: host.np.metric("nodeproxy_worker_names_kept", worker=str(worker)))


def other_names_are_asked_of_the_resolvers_of_the_host():
    conf = Conf("127.0.0.53", "10.100.1.2")
    with lab.Lab(pods=3, config=conf.settings()) as mesh:
        client, one, two = mesh.pods
        mesh.start()
        client.add()

        def fn(q, tcp):
            m = dns.Message(q)
            assert m.edns == 1232 or tcp
            if m.name.startswith("no."):
                return dns.reply(q, rcode="NXDOMAIN", soa=60)
            if m.name.startswith("large."):
                all_of_it = [("A", f"192.0.2.{i}", 60) for i in range(200)]
                return dns.reply(q, *(all_of_it if tcp else []), flags=0 if tcp else dns.TC)
            return dns.reply(q, ("A", "192.0.2.1", 60)) if m.type == "A" else dns.reply(q, soa=60)
        with at(one, fn) as first, at(two, lambda q, tcp: dns.reply(q, ("A", "192.0.2.2", 60))) as second:
            m = ask(client, "Www.Example.org")
            assert (m.texts, m.name, m.rcode, m.edns) == (["192.0.2.1"], "Www.Example.org", "NOERROR", None)
            assert ask(client, "www.example.org", edns=4096).edns
            assert ask(client, "www.example.org", "AAAA").texts == []
            assert ask(client, "no.example.org").rcode == "NXDOMAIN"
            assert ask(client, "no.example.org").rcode == "NXDOMAIN"
            # what it said is kept, by each worker
            for _ in range(20):
                assert ask(client, "www.example.org", tcp=True).texts == ["192.0.2.1"]
            assert 1 <= first.asked.count(("www.example.org", "A", False)) + first.asked.count(("Www.Example.org", "A", False)) <= 2
            # more than UDP takes
            assert ask(client, "large.example.org").tc
            m = ask(client, "large.example.org", tcp=True)
            assert len(m.answers) == 200 and not m.tc
            assert len(ask(client, "large.example.org", edns=4096).answers) == 200
            # names of the mesh are nobody else's
            assert ask(client, "nope.shop.svc.cluster.local").rcode == "NXDOMAIN"
            assert not [n for n, _, _ in first.asked if "cluster.local" in n]
            # the file changes: others are asked, and what was said before does not count
            conf.write(two.ip6)
            np.until("the other resolver", lambda: ask(client, "www.example.org").texts == ["192.0.2.2"])
            assert second.asked
        assert count(client.host, "names_cached_total") >= 18
        assert count(client.host, "names_tcp_total") >= 1


def resolvers_that_are_dead_refuse_or_lie():
    conf = Conf("10.100.1.2", "10.100.2.2")
    with lab.Lab(pods=3, config=conf.settings(timeout=200)) as mesh:
        client, one, two = mesh.pods
        mesh.start()
        client.add()
        good = ("A", "192.0.2.1", 0)        # never kept

        # The first is silent, refuses (nobody listens), fails: the second is asked; then it is the first.
        with at(two, lambda q, tcp: dns.reply(q, good)) as second:
            with at(one, lambda q, tcp: None) as silent:
                for i in range(6):
                    assert ask(client, f"a{i}.example.org").texts == ["192.0.2.1"]
                assert 1 <= len(silent.asked) <= 2, silent.asked        # once by each worker
            assert ask(client, "b.example.org").texts == ["192.0.2.1"]
            with at(one, lambda q, tcp: dns.reply(q, rcode="SERVFAIL")):
                assert ask(client, "c.example.org").texts == ["192.0.2.1"]
        with at(one, lambda q, tcp: dns.reply(q, rcode="FORMERR") if dns.Message(q).edns else dns.reply(q, good)):
            assert ask(client, "old.example.org").texts == ["192.0.2.1"]

        # Lies: another id, another question, half of an answer, none, another address; then the truth.
        def liar(q, tcp):
            m = dns.Message(q)
            return [dns.reply(q, ("A", "192.0.2.66", 60), ident=m.id ^ 1), dns.reply(dns.query("else.example.org", ident=m.id), good),
                    dns.query(m.name, ident=m.id), b"", b"x" * 11, dns.reply(q, good)]
        with at(one, liar):
            assert ask(client, "d.example.org").texts == ["192.0.2.1"]

        def guesser(q, tcp):        # who tries all ids is asked by TCP
            m = dns.Message(q)
            return dns.reply(q, good) if tcp else [dns.reply(q, ("A", "192.0.2.66", 60), ident=m.id ^ k) for k in range(1, 40)]
        with at(one, guesser):
            assert ask(client, "e.example.org").texts == ["192.0.2.1"]

        def from_elsewhere(q, tcp):
            def send():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    for port in range(32768, 61000, 997):
                        s.sendto(dns.reply(q, ("A", "192.0.2.66", 60)), (client.ip4, port))
            lab.inside(two.ns, send)
            return dns.reply(q, good)
        with at(one, from_elsewhere):
            assert ask(client, "f.example.org").texts == ["192.0.2.1"]

        # Nobody at all; then nonsense alone.
        assert ask(client, "g.example.org").rcode == "SERVFAIL"
        with at(one, lambda q, tcp: dns.reply(q, rcode="REFUSED")), at(two, lambda q, tcp: q[:20]):
            assert ask(client, "h.example.org").rcode in ("SERVFAIL", "REFUSED")


def answers_outlive_their_resolvers():
    conf = Conf("10.100.1.2")
    with lab.Lab(pods=2, config=conf.settings(timeout=100)) as mesh:
        client, one = mesh.pods
        mesh.start()
        client.add()
        def kept_by_all():
            ask(client, "www.example.org", tcp=True)    # whoever accepts it
            return all(kept(client.host, i) for i in range(2))
        with at(one, lambda q, tcp: dns.reply(q, ("A", "192.0.2.1", 1))):
            np.until("both workers to know it", kept_by_all)

        def stale():
            assert ask(client, "www.example.org").texts == ["192.0.2.1"]
            return count(client.host, "names_stale_total") >= 2
        np.until("old answers", stale)
        assert ask(client, "other.example.org").rcode == "SERVFAIL"
        assert count(client.host, "names_unanswered_total") >= 2


def a_flood_of_questions_costs_nobody_else_an_answer():
    conf = Conf("10.100.2.2")
    with lab.Lab(pods=3, config=conf.settings(pending=4, timeout=2000)) as mesh:
        client, server, silent = mesh.pods
        mesh.service("shop/web", 80, [server])
        mesh.start()
        client.add()
        server.host.np.ctl("pod", "add", "other", "--namespace", "elsewhere", "--netns", server.netns)
        with at(silent, lambda q, tcp: dns.reply(q, ("A", "192.0.2.1", 1)) if dns.Message(q).name == "good" else None):
            def flood():
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.settimeout(np.DEADLINE)
                s.connect((ANYBODY[4], 53))
                for i in range(60):
                    s.send(dns.query(f"x{i}.example.org"))
                return s
            with lab.inside(client.ns, flood) as s:
                assert dns.Message(s.recv(512)).rcode == "REFUSED"
                assert ask(client, "web").texts == [mesh.vip["shop/web"]]
                assert ask(server, "good").texts == ["192.0.2.1"]
        assert count(client.host, "names_refused_total") >= 50
        # the pod leaves while they wait
        client.remove()
        np.until("nobody waits", lambda: count(client.host, "names_waiting") == 0)


def a_pod_may_have_resolvers_of_its_own():
    def found(host):
        r = host.np.ctl("check", "-o", "json")
        return {f["check"] for f in json.loads(r.stdout)["findings"]}

    conf, own = Conf("127.0.0.53", "::1"), Conf("10.100.1.2", "fd10:0:1::2")
    with lab.Lab(pods=2, config=conf.settings(timeout=100, stale=0)) as mesh:
        client, one = mesh.pods
        host = client.host
        mesh.start()
        client.add()
        assert ask(client, "www.example.org").rcode == "SERVFAIL"       # nobody is to be asked
        names = host.np.api("pods")["pods"][0]["names"]
        assert names == {"own": False, "resolvers": [], "silent": False}, names
        assert found(host) & {"names_unasked", "names_silent"} == {"names_unasked"}
        for words, problem in ((["--resolver", "127.0.0.1"], "inside the pod that is the pod"), (["--resolver", "dns"], "is an address"),
                               (["--resolv-conf", "/nowhere"], "/nowhere: "), (["--resolv-conf", "/dev/null"], "has no nameserver"),
                               (["--resolv-conf", conf.file.name], "inside the pod that is the pod"),
                               (["--resolver", "10.0.0.1", "--resolver", "10.0.0.2", "--resolv-conf", own.file.name], "at most 3")):
            r = host.np.ctl("pod", "add", client.name, "--namespace", "shop", "--netns", client.netns, *words)
            assert r.returncode in (1, 2) and problem in r.stderr, (words, r.returncode, r.stderr)

        # what is said of it now counts; live
        client.add("--resolv-conf", own.file.name)
        names = host.np.api("pods")["pods"][0]["names"]
        assert (names["own"], names["resolvers"]) == (True, ["10.100.1.2", "fd10:0:1::2"]), names
        with at(one, lambda q, tcp: dns.reply(q, ("A", "192.0.2.1", 0))):
            np.until("its own resolver", lambda: ask(client, "www.example.org").texts == ["192.0.2.1"])
            np.until("no finding", lambda: not found(host) & {"names_unasked", "names_silent"})
        assert ask(client, "www.example.org").rcode == "SERVFAIL"
        assert host.np.api("pods")["pods"][0]["names"]["silent"] and "names_silent" in found(host)
        # a Workload says it in its document
        def workload(resolvers):
            host.np.write("workload.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata: {name: batch, namespace: shop}\n"
                          f"spec: {{networkNamespace: {one.netns}, resolvers: {resolvers}}}\n")
            np.until("its resolvers", lambda: [p["names"]["resolvers"] for p in host.np.api("pods")["pods"] if p["name"] == "batch"] == [resolvers])
        workload(["10.100.0.2"])
        workload(["10.100.0.2", "10.100.0.3"])
        workload([])
        os.unlink(os.path.join(host.np.resources, "workload.yaml"))
        np.until("one pod", lambda: len(host.np.api("pods")["pods"]) == 1)
        # and outlives a stop
        host.np.stop()
        host.np.start()
        np.until("the pod again", lambda: [p["names"]["resolvers"] for p in host.np.api("pods")["pods"]] == [["10.100.1.2", "fd10:0:1::2"]])


class Asker:
    """A thread in a pod that asks for a name of the mesh and for one of others, by UDP and TCP, over and over."""

    def __init__(self, pod, vip):
        self.asked, self.lost, self.wrong, self.end = 0, 0, [], False
        self.vip, self.thread = vip, threading.Thread(target=lambda: lab.inside(pod.ns, self.run))
        self.thread.start()

    def run(self):
        while not self.end:
            for name, want in (("web", self.vip), (f"x{self.asked}.example.org", "192.0.2.1")):
                self.asked += 1
                for again in range(5):
                    try:
                        m = dns.ask(ANYBODY[4], name, tcp=self.asked % 4 < 2, timeout=2)
                        if m.texts == [want]:
                            break
                        self.wrong.append((m.rcode, m.texts))
                    except (OSError, struct.error):
                        pass
                    self.lost += 1
                else:
                    raise AssertionError(f"no answer about {name}: {self.wrong}")

    def go_on(self, more=20):
        n = self.asked
        np.until("more answers", lambda: self.asked >= n + more or not self.thread.is_alive())
        assert self.thread.is_alive()
        lost, self.lost = self.lost, 0
        return lost


def names_outlive_masters_and_workers():
    conf = Conf("10.100.1.2")
    with lab.Lab(pods=2, config=conf.settings(timeout=1000)) as mesh:
        client, one = mesh.pods
        host = mesh.hosts[0].np
        mesh.service("shop/web", 80, [one])
        mesh.start()
        client.add()

        def pid(comm):
            return next((p for p, c in host.pids().items() if c == comm), None)
        with at(one, lambda q, tcp: dns.reply(q, ("A", "192.0.2.1", 1))):
            asker = Asker(client, mesh.vip["shop/web"])
            try:
                assert asker.go_on() == 0
                was = {w["pid"] for w in host.status()["workers"]}
                assert host.ctl("drain").returncode == 0
                np.until("other workers", lambda: asker.go_on() == 0 and host.status()["ready"] and
                         not was & {w["pid"] for w in host.status()["workers"]})
                assert host.ctl("upgrade").returncode == 0
                assert asker.go_on() == 0
                was = pid("nodeproxy-mastr")
                os.kill(was, 9)
                np.until("another master", lambda: pid("nodeproxy-mastr") not in (None, was))
                np.until("ready", lambda: host.status()["ready"])
                assert asker.go_on() == 0
                for w in host.status()["workers"]:
                    os.kill(w["pid"], 9)
                assert asker.go_on() <= 4       # what they had read is gone with them
                np.until("ready", lambda: host.status()["ready"])
                assert asker.go_on() <= 4 and asker.wrong == [], asker.wrong
            finally:
                asker.end = True
                asker.thread.join()


TESTS = [names_of_the_mesh_by_udp_and_tcp, programs_find_services_by_name, only_what_was_redirected_is_answered,
         other_names_are_asked_of_the_resolvers_of_the_host, resolvers_that_are_dead_refuse_or_lie,
         answers_outlive_their_resolvers, a_flood_of_questions_costs_nobody_else_an_answer,
         a_pod_may_have_resolvers_of_its_own, names_outlive_masters_and_workers]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
