#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Policies on a host with several workers: limits that hold for all of them together, also when
one dies, and what the operator sees of policies."""
import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import frames  # noqa: E402
import np  # noqa: E402

np.only_in_tiers("process")

TARGET = "targetRefs: [{group: '', kind: Service, name: web}]"


def policy(name, spec, more=""):
    return (f"apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\n"
            f"metadata: {{name: {name}, namespace: shop{more}}}\nspec: {{{spec}}}\n")


class Holder:
    """An endpoint that keeps each request until it is told to answer."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.lock, self.held, self.most, self.go = threading.Lock(), 0, 0, threading.Event()
        self.paths = []         # in the order in which they were asked for
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError), c:
            while head := c.recv(4096):
                with self.lock:
                    self.paths.append(head.split(b" ", 2)[1].decode())
                    self.held += 1
                    self.most = max(self.most, self.held)
                self.go.wait(np.DEADLINE)
                with self.lock:
                    self.held -= 1
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def limit_held(host, what):
    return host.metric("nodeproxy_service_limit_held", limit=what)


def begun(host, n):
    """n callers, each with a request on a connection of its own, answers in a list as they come."""
    answers = []

    def call():
        try:
            answers.append(host.get("/", timeout=np.DEADLINE).status)
        except OSError:
            answers.append(0)
    threads = [threading.Thread(target=call, daemon=True) for _ in range(n)]
    for t in threads:
        t.start()
    return threads, answers


def requests_over_the_limit_are_refused_by_whatever_worker_they_reach():
    with np.Host(workers=3) as host:
        end = Holder()
        host.service("shop/web", 80, [end.port])
        host.write("policy.yaml", policy("p", f"{TARGET}, limits: {{requests: 5, connections: 5}}"))
        host.start()
        for _ in range(3):
            end.go.clear()
            threads, answers = begun(host, 20)
            np.until("all that are too many to be refused", lambda: answers.count(503) == 15)
            np.until("the others to arrive", lambda: end.held == 5)
            assert limit_held(host, "requests") == 5 and answers.count(200) == 0
            end.go.set()
            for t in threads:
                t.join(np.DEADLINE)
            assert answers.count(200) == 5, answers
        assert end.most == 5, end.most
        assert host.metric("nodeproxy_service_limit", limit="requests") == 5
        total = sum(host.metric(f"nodeproxy_service_limited_{what}_total") for what in ("requests", "connections"))
        assert total == 45, total

        # Five connections lie idle with some workers; callers of the others are not refused for long.
        def all_served():
            return [host.get("/").status for _ in range(24)] == [200] * 24
        np.until("every worker to get a connection", all_served)
        np.until("all to be given back", lambda: limit_held(host, "requests") == 0)
        assert limit_held(host, "connections") <= 5
        print(f"    20 callers, limit 5: {end.most} at most at the endpoint")


def what_a_dead_worker_held_is_there_for_others():
    with np.Host(workers=3) as host:
        end = Holder()
        host.service("shop/web", 80, [end.port])
        host.write("policy.yaml", policy("p", f"{TARGET}, limits: {{requests: 24}}"))
        host.start()
        _, answers = begun(host, 24)
        np.until("as many as may", lambda: end.held == 24)
        assert host.get("/").status == 503
        victim = next(w for w in host.status()["workers"] if w["id"] == 0)["pid"]
        os.kill(victim, signal.SIGKILL)
        np.until("another worker 0", lambda: host.status()["ready"] and victim not in
                 [w["pid"] for w in host.status()["workers"]])
        np.until("its callers to know", lambda: answers.count(0) > 0)
        left = 24 - answers.count(0)
        np.until("its share to be returned", lambda: limit_held(host, "requests") == left)
        end.most = 0
        threads, more = begun(host, 30)
        np.until("exactly its share to be taken", lambda: more.count(503) == 30 - (24 - left))
        np.until("the limit", lambda: limit_held(host, "requests") == 24)
        end.go.set()
        for t in threads:
            t.join(np.DEADLINE)
        assert more.count(200) == 24 - left, more
        np.until("none to be held", lambda: limit_held(host, "requests") == 0)
        print(f"    {24 - left} of 24 died with their worker, {24 - left} more were let in")


class H2Endpoint:
    """Answers every request on connections of HTTP/2, and counts those that are there at once."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.all, self.most, self.total = [], 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                new = self.listener.accept()[0]
                self.all.append(new)
                self.total += 1
                # As the kernel sees it: a thread may not have read the end of one yet.
                self.all = [s for s in self.all if s.fileno() >= 0 and
                            s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1"]
                self.most = max(self.most, len(self.all))
                threading.Thread(target=self._serve, args=(new,), daemon=True).start()

    def _serve(self, s):
        with contextlib.suppress(OSError), s:
            c = frames.Callee(s)
            while f := c.next():
                if f[0] == frames.HEADERS:
                    c.send(frames.headers(f[2], b"\x88"))


def connections_that_requests_share_count_too():
    with np.Host(workers=2) as host:
        end = H2Endpoint()
        host.service("shop/web", 80, [end.port], app="kubernetes.io/h2c")
        host.write("policy.yaml", policy("p", f"{TARGET}, limits: {{connections: 1}}"))
        host.start()
        seen = set()

        def both():
            seen.add(host.get("/").status)
            return seen == {200, 503}
        np.until("one worker to have the connection, and another to be refused", both)
        # It lies idle where it is, so the other gets one of its own within seconds.
        np.until("the other worker to have its turn", lambda: host.get("/").status and end.total > 1)
        assert end.most == 1, end.most
        assert host.metric("nodeproxy_service_limited_connections_total") > 0
        np.until("it to be held", lambda: host.get("/").status == 200 and limit_held(host, "connections") == 1)
        # What a dead worker held is returned.
        for w in host.status()["workers"]:
            os.kill(w["pid"], signal.SIGKILL)
        np.until("none to be held", lambda: limit_held(host, "connections") == 0)
        np.until("the next one", lambda: host.status()["ready"] and host.get("/").status == 200)
        assert limit_held(host, "connections") <= 1 and end.most == 1, end.most


def tenants_wait_in_turn_and_who_has_most_in_line_loses_its_newest():
    ports = {"shop": np.free_port(), "bank": np.free_port()}
    listeners = [dict(name=ns, bind=f"127.0.0.1:{port}", namespace=ns, route="service", service="shop/web:80")
                 for ns, port in ports.items()]
    with np.Host(workers=1, listeners=listeners) as host:
        end, served, lock = Holder(), [], threading.Lock()
        host.service("shop/web", 80, [end.port])
        host.write("policy.yaml", policy("p", f"{TARGET}, limits: {{requests: 1, pending: 10, pendingTime: 1m}}"))
        host.start()

        def call(ns):
            c = http.client.HTTPConnection("127.0.0.1", ports[ns], timeout=np.DEADLINE)
            c.request("GET", f"/{ns}")
            status = c.getresponse().status
            with lock:
                served.append((ns, status))

        def begin(ns, n):
            threads = [threading.Thread(target=call, args=(ns,), daemon=True) for _ in range(n)]
            for t in threads:
                t.start()
            return threads

        def pending():
            return host.metric("nodeproxy_worker_pending")
        threads = begin("shop", 1)
        np.until("one to be served", lambda: end.held == 1)
        threads += begin("shop", 20)
        np.until("a full line", lambda: pending() == 10)
        np.until("the rest to be refused", lambda: served.count(("shop", 503)) == 10)
        threads += begin("bank", 3)
        np.until("room for others", lambda: served.count(("shop", 503)) == 13)
        assert served.count(("bank", 503)) == 0 and pending() == 10, served
        del served[:]
        end.go.set()
        for t in threads:
            t.join(np.DEADLINE)
        assert [s for _, s in served] == [200] * 11, served
        # One that was under way, then both in turn until the one with less has no more.
        assert end.paths[:1] + end.paths[7:] == ["/shop"] * 5 and end.paths[1:7].count("/bank") == 3, end.paths
        assert end.most == 1, end.most
        np.until("nobody to wait", lambda: pending() == 0)
        print("    3 of another tenant were served among the first 6 behind a line of 10")


class Patient:
    """An endpoint that says of itself whether it is well, and counts how often it was asked."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.status, self.asked, self.served = 200, 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, c):
        with contextlib.suppress(OSError), c:
            while head := c.recv(4096):
                check = head.startswith(b"GET /well HTTP/1.1\r\nHost: web.shop\r\n")
                self.asked += check
                self.served += not check
                c.sendall(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % (self.status if check else 200))


def endpoints_are_asked_by_one_worker_whichever_dies():
    with np.Host(workers=2) as host:
        a, b = Patient(), Patient()
        host.service("shop/web", 80, [a.port, b.port])
        host.write("policy.yaml", policy("p", f"{TARGET}, healthCheck: {{type: HTTP, path: /well, interval: 100ms}}"))
        host.start()

        def states():
            return {int(e["address"].rsplit(":", 1)[1]): e["state"] if e["health"] != "unknown" else "?"
                    for e in host.ctl_json("get", "endpoints")["endpoints"]}

        def checked():
            return [host.metric("nodeproxy_worker_health_checked", worker=str(w)) for w in (0, 1)]
        np.until("both to be healthy", lambda: states() == {a.port: "ready", b.port: "ready"})
        np.until("one worker to do it", lambda: sorted(checked()) == [0, 2])
        a.status = 503
        np.until("one to be unhealthy", lambda: states() == {a.port: "unhealthy", b.port: "ready"})
        assert host.metric("nodeproxy_endpoint_unhealthy") == 1
        before = a.served
        assert [host.get("/").status for _ in range(20)] == [200] * 20
        assert a.served == before, "the unhealthy one was not passed over"
        steps = [s for s in host.ctl_json("explain", "web.shop/")["steps"] if s["step"] == "endpoint"]
        assert sorted(s["probability"] for s in steps) == [0, 1], steps
        # Its worker dies; what it had found stays, and somebody goes on asking.
        owner = checked().index(2)
        victim = next(w for w in host.status()["workers"] if w["id"] == owner)["pid"]
        os.kill(victim, signal.SIGKILL)
        assert states()[a.port] == "unhealthy"
        a.status, b.status = 200, 500
        np.until("somebody to ask", lambda: states() == {a.port: "ready", b.port: "unhealthy"})
        np.until("one worker again", lambda: sorted(checked()) == [0, 2])
        # All are unhealthy: all serve.
        a.status = 500
        np.until("both to be unhealthy", lambda: states() == {a.port: "unhealthy", b.port: "unhealthy"})
        assert [host.get("/").status for _ in range(20)] == [200] * 20
        os.unlink(os.path.join(host.resources, "policy.yaml"))
        np.until("nobody to ask any more", lambda: checked() == [0, 0] and states() == {a.port: "?", b.port: "?"})
        with open(host.log) as f:
            assert "event=endpoint_health service=shop/web" in f.read()


def rate_policy(spec):
    return policy("rate", f"{TARGET}, {spec}").replace("TrafficPolicy", "RateLimitPolicy")


def a_rate_is_exact_over_workers_and_the_death_of_one():
    with np.Host(workers=2) as host:
        web = host.backend("w1")
        host.service("shop/web", 80, [web.port])
        # One more comes every 16 minutes: none while this runs.
        host.write("rate.yaml", rate_policy("identity: {requests: 90, interval: 24h}"))
        host.start()

        def served(n):
            threads, answers = begun(host, n)
            for t in threads:
                t.join(np.DEADLINE)
            assert answers.count(200) + answers.count(429) == n, answers
            return answers.count(200)
        assert served(40) == 40
        victim = host.status()["workers"][0]["pid"]
        os.kill(victim, signal.SIGKILL)
        np.until("another worker", lambda: host.status()["ready"] and victim not in
                 [w["pid"] for w in host.status()["workers"]])
        total = 40 + served(40) + served(40)
        assert total == 90, total
        assert host.metric("nodeproxy_service_rate_limited_identity_total") == 30
        (port,) = host.ctl_json("describe", "service", "shop/web")["ports"]
        assert port["rate_limit"]["identity"] == {"requests": 90, "interval_ms": 86400000, "burst": 90}, port
        assert port["rate_limit"]["kept"] and port["rate_limit"]["total"] is None, port
        (port,) = host.ctl_json("describe", "ratelimitpolicy", "shop/rate")["ports"]
        assert port["service"] == "web" and port["rate_limit"]["policy"] == "rate", port
        steps = {s["step"]: s for s in host.ctl_json("explain", "web.shop/")["steps"]}
        assert steps["rate limit"]["why"] == "each namespace 90 requests in 86400000 ms, 90 at once", steps
        rows = host.ctl_json("get", "policies", "-n", "shop")["policies"]
        assert [(r["kind"], r["accepted"]) for r in rows] == [("RateLimitPolicy", "True")], rows
        # Of all together, in a kind of its own: what was taken so far was each caller's.
        host.write("rate.yaml", rate_policy("total: {requests: 3, interval: 24h}"))
        np.until("the other limit", lambda: host.get("/").status == 200)
        np.until("it to be used up", lambda: host.get("/").status == 429)
        (port,) = host.ctl_json("describe", "service", "shop/web")["ports"]
        assert port["rate_limit"]["total"]["left"] == 0, port
        print("    90 of 120 requests were let through by 2 workers, one of which died")


def the_operator_sees_which_policy_counts():
    with np.Host(workers=1) as host:
        web = host.backend("w1")
        host.service("shop/web", 80, [web.port])
        host.write("p.yaml", policy("old", f"{TARGET}, timeouts: {{response: 1m30s}}, limits: {{requests: 7}}",
                                    ", creationTimestamp: 2026-01-01T00:00:00Z"))
        host.write("q.yaml", policy("young", f"{TARGET}, loadBalancer: {{type: RoundRobin}}",
                                    ", creationTimestamp: 2026-01-02T00:00:00Z"))
        host.write("r.yaml", policy("lost", "targetRefs: [{group: '', kind: Service, name: nobody}]"))
        host.write("s.yaml", policy("bad", f"{TARGET}, loadBalancer: {{type: RingHash}}"))
        host.start()

        def reason(name):
            o = host.ctl_json("describe", "trafficpolicy", f"shop/{name}")
            (ancestor,) = o["status"]["ancestors"]
            (condition,) = ancestor["conditions"]
            assert condition["type"] == "Accepted" and ancestor["controllerName"] == "nodeproxy.io/nodeproxy"
            return condition["status"], condition["reason"], condition["message"]
        np.until("a report", lambda: reason("old")[0] == "True")
        status, why, words = reason("young")
        assert (status, why) == ("False", "Conflicted") and "TrafficPolicy shop/old" in words, words
        assert reason("lost")[1] == "TargetNotFound", reason("lost")
        refused = host.ctl_json("describe", "trafficpolicy", "shop/bad")["refused"][0]
        assert refused["field"] == "spec.loadBalancer.type" and "RingHash is not supported" in refused["reason"]
        rows = {r["name"]: r["reason"] for r in host.ctl_json("get", "policies", "-n", "shop")["policies"]}
        assert rows["old"] == "Accepted" and rows["young"] == "Conflicted" and rows["lost"] == "TargetNotFound", rows
        assert "Conflicted" in host.ctl("get", "policies").stdout
        (port,) = host.ctl_json("describe", "service", "shop/web")["ports"]
        assert port["policy"] == "shop/old" and port["timeouts_ms"]["response"] == 90000, port
        assert port["limits"]["requests"] == {"max": 7, "now": 0, "kept": True}, port
        steps = {s["step"]: s for s in host.ctl_json("explain", "web.shop/")["steps"]}
        assert steps["policy"]["what"] == "shop/old" and "response 90000 ms" in steps["policy"]["why"], steps
        # The one that counts goes: the other takes over, no request is lost.
        os.unlink(os.path.join(host.resources, "p.yaml"))
        np.until("the other", lambda: reason("young")[0] == "True")
        (port,) = host.ctl_json("describe", "service", "shop/web")["ports"]
        assert port["policy"] == "shop/young" and port["balancer"] == "RoundRobin", port
        assert host.get("/").status == 200


TESTS = [requests_over_the_limit_are_refused_by_whatever_worker_they_reach, what_a_dead_worker_held_is_there_for_others,
         endpoints_are_asked_by_one_worker_whichever_dies,
         connections_that_requests_share_count_too, tenants_wait_in_turn_and_who_has_most_in_line_loses_its_newest,
         a_rate_is_exact_over_workers_and_the_death_of_one, the_operator_sees_which_policy_counts]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
