#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Routes of several kinds and for the callers of several namespaces on a running host: who is routed by
which, grants that come and go, conditions, and the last good version of a route that is refused."""
import contextlib
import http.client
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")

GATEWAY = "apiVersion: gateway.networking.k8s.io/v1\n"


def route(key, rules, kind="HTTPRoute", parent="{name: web, namespace: shop", generation=1):
    ns, name = key.split("/")
    return (f"{GATEWAY}kind: {kind}\nmetadata: {{name: {name}, namespace: {ns}, generation: {generation}}}\n"
            f"spec:\n  parentRefs: [{parent}, group: '', kind: Service}}]\n  rules: [{rules}]\n")


def to(ns, name, port=80, more=""):
    return f"{{backendRefs: [{{name: {name}, namespace: {ns}, port: {port}}}]{more}}}"


def grant(ns, kind, of):
    return (f"{GATEWAY}kind: ReferenceGrant\nmetadata: {{name: g, namespace: {ns}}}\nspec:\n"
            f"  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {of}}}]\n"
            f"  to: [{{group: '', kind: Service}}]\n")


@contextlib.contextmanager
def three_namespaces():
    """A listener for callers of shop, far and other each, all to shop/web."""
    ports = {ns: np.free_port() for ns in ("shop", "far", "other")}
    listeners = [dict(name=ns, bind=f"127.0.0.1:{p}", namespace=ns, route="service", service="shop/web:80")
                 for ns, p in ports.items()]
    with np.Host(workers=2, listeners=listeners) as host:
        for key in ("shop/web", "shop/v2", "far/api"):
            host.service(key, 80, [host.backend(key).port])

        def who(ns, path="/", **headers):
            c = http.client.HTTPConnection("127.0.0.1", ports[ns], timeout=10)
            try:
                c.request("GET", path, headers=headers)
                r = np.Answer(c.getresponse())
                return r.headers.get("x-backend", r.status)
            finally:
                c.close()
        yield host, who, ports


def condition(host, kind, key, name, parent=0):
    """(status, reason, message, generation) of a condition; (None, ...) while it is not there."""
    for c in host.ctl_json("describe", kind, key).get("status", {"parents": [{"conditions": []}]})["parents"][parent]["conditions"]:
        if c["type"] == name:
            return c["status"], c["reason"], c["message"], c["observedGeneration"]
    return None, None, None, None


def callers_go_by_the_routes_of_their_namespace():
    with three_namespaces() as (host, who, _):
        host.start()
        assert [who(ns) for ns in ("shop", "far", "other")] == ["shop/web"] * 3
        host.write("far.yaml", route("far/mine", to("far", "api")))
        np.until("the consumer's route", lambda: who("far") == "far/api")
        assert [who("shop"), who("other")] == ["shop/web"] * 2
        # One of the Service's own namespace binds all but those who have their own.
        host.write("shop.yaml", route("shop/all", to("shop", "v2", more=", matches: [{path: {value: /v2}}]")))
        np.until("the producer's route", lambda: who("shop", "/v2") == "shop/v2")
        assert who("other", "/v2") == "shop/v2" and who("other", "/") == 404
        assert who("far", "/v2") == "far/api" and who("far", "/") == "far/api"
        rows = {(r["kind"], r["namespace"], r["name"]): r for r in host.ctl_json("get", "routes")["routes"]}
        assert rows["HTTPRoute", "far", "mine"]["callers"] == "far", rows
        assert rows["HTTPRoute", "shop", "all"]["callers"] is None, rows
        said = {s["step"]: s["why"] for s in host.ctl_json("explain", "--from", "far", "web.shop/v2")["steps"]}
        assert "for callers of namespace far" in said["route"], said
        # To where its callers were going a consumer needs no grant.
        host.write("far.yaml", route("far/mine", to("shop", "v2")))
        np.until("the other back end", lambda: who("far") == "shop/v2")
        os.unlink(os.path.join(host.resources, "far.yaml"))
        np.until("the producer's route again", lambda: who("far") == 404)


def a_grant_permits_while_it_is_there():
    with three_namespaces() as (host, who, _):
        host.write("r.yaml", route("shop/r", to("far", "api")))
        host.start()
        assert who("shop") == 500
        np.until("a report", lambda: condition(host, "httproute", "shop/r", "ResolvedRefs")[1] == "RefNotPermitted")
        host.write("g.yaml", grant("far", "GRPCRoute", "shop"))
        host.write("g2.yaml", grant("far", "HTTPRoute", "shop").replace("name: g,", "name: g2,"))
        np.until("the grant to count", lambda: who("shop") == "far/api")
        np.until("a report", lambda: condition(host, "httproute", "shop/r", "ResolvedRefs")[1] == "ResolvedRefs")
        assert host.ctl_json("describe", "referencegrant", "far/g2")["status"]["conditions"][0]["status"] == "True"
        os.unlink(os.path.join(host.resources, "g2.yaml"))
        np.until("the grant to be gone", lambda: who("shop") == 500)


def one_kind_counts_and_the_others_say_so():
    with three_namespaces() as (host, who, ports):
        host.service("shop/web", 80, [host.backend("auto").port], app=None)
        host.write("tcp.yaml", route("shop/tcp", to("shop", "v2"), "TCPRoute"))
        host.start()
        assert who("shop", "/any") == "shop/v2"
        np.until("a report", lambda: condition(host, "tcproute", "shop/tcp", "Accepted")[0] == "True")
        host.write("http.yaml", route("shop/http", to("shop", "web")))
        np.until("HTTPRoute to win", lambda: who("shop", "/any") == "auto")
        np.until("a report", lambda: condition(host, "tcproute", "shop/tcp", "Accepted")[:2] == ("False", "Conflicted"))
        assert "HTTPRoute shop/http" in condition(host, "tcproute", "shop/tcp", "Accepted")[2]
        with socket.create_connection(("127.0.0.1", ports["shop"])) as s:
            s.close()
        host.write("grpc.yaml", route("shop/grpc", "{matches: [{method: {service: a.B}}]}", "GRPCRoute"))
        np.until("GRPCRoute to win", lambda: who("shop", "/any") == 404)
        np.until("a report", lambda: condition(host, "httproute", "shop/http", "Accepted")[1] == "Conflicted")
        assert condition(host, "grpcroute", "shop/grpc", "Accepted")[:2] == ("True", "Accepted")
        # A callers' group of its own has a kind of its own.
        host.write("other.yaml", route("other/http", to("shop", "v2")))
        np.until("the consumer's", lambda: who("other", "/any") == "shop/v2")
        np.until("a report", lambda: condition(host, "httproute", "other/http", "Accepted")[:2] == ("True", "Accepted"))
        table = host.ctl("get", "routes").stdout
        assert "GRPCRoute" in table and "TCPRoute" in table, table


def a_refused_version_leaves_the_last_good_one_serving():
    with three_namespaces() as (host, who, _):
        host.write("r.yaml", route("shop/r", to("shop", "v2"), generation=3))
        host.start()
        assert who("shop") == "shop/v2"
        bad = "{matches: [{headers: [{name: a, value: b, type: RegularExpression}]}]}"
        host.write("r.yaml", route("shop/r", bad, generation=4))
        np.until("the refusal", lambda: condition(host, "httproute", "shop/r", "Accepted")[0] == "False")
        status, reason, words, generation = condition(host, "httproute", "shop/r", "Accepted")
        assert reason == "UnsupportedValue" and generation == 4, (reason, generation)
        assert "spec.rules[0].matches[0].headers[0].type" in words and "last good version serves" in words, words
        assert condition(host, "httproute", "shop/r", "PartiallyInvalid")[:2] == ("True", "UnsupportedValue")
        assert condition(host, "httproute", "shop/r", "PartiallyInvalid")[2].startswith("Fall Back: generation 3")
        assert who("shop") == "shop/v2"
        (refused,) = host.ctl_json("get", "sources")["refused"]
        assert refused["field"] == "spec.rules[0].matches[0].headers[0].type", refused
        host.write("r.yaml", route("shop/r", to("shop", "web"), generation=5))
        np.until("the good one", lambda: who("shop") == "shop/web")
        np.until("a report", lambda: condition(host, "httproute", "shop/r", "Accepted")[0::3] == ("True", 5))
        assert condition(host, "httproute", "shop/r", "PartiallyInvalid")[0] is None


TESTS = [callers_go_by_the_routes_of_their_namespace, a_grant_permits_while_it_is_there,
         one_kind_counts_and_the_others_say_so, a_refused_version_leaves_the_last_good_one_serving]

if __name__ == "__main__":
    for test in TESTS:
        if sys.argv[1:] and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
