#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Workload resources: pods that are captured because the registry says so."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402


def workload(pod, netns=None, node=None, labels="", name=None):
    return (f"apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
            f"metadata: {{name: {name or pod.name}, namespace: shop, labels: {{{labels}}}}}\n"
            f"spec: {{networkNamespace: '{netns or pod.netns}', serviceAccount: web{f', node: {node}' if node else ''}}}\n")


def write(pod, **more):
    pod.host.np.write(f"workload-{pod.name}.yaml", workload(pod, **more))


def delete(pod):
    os.unlink(os.path.join(pod.host.np.resources, f"workload-{pod.name}.yaml"))


def shown(pod):
    """What `get pods` has of it, captured first."""
    pods = [p for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name]
    return sorted(pods, key=lambda p: not p["captured"])


def condition(pod, kind="Enrolled"):
    """(status, reason, message)"""
    r = pod.host.np.ctl_json("describe", "workload", f"shop/{pod.name}")
    return next(((c["status"], c["reason"], c["message"]) for c in r["status"]["conditions"] if c["type"] == kind), None)


def until_enrolled(*pods):
    for p in pods:
        np.until(f"{p.name} is enrolled", lambda p=p: condition(p) == ("True", "Enrolled", "") and p.rules())


def until_free(*pods):
    np.until("no rules in them", lambda: not any(p.rules() for p in pods))
    np.until("nothing of them is listed", lambda: not any(shown(p) for p in pods))


def pid(host, name):
    return next((p for p, n in host.pids().items() if n.startswith(name[:15])), None)


def a_workload_is_captured_while_it_is_there():
    with lab.Lab(pods=3) as mesh:
        client, server, other = mesh.pods
        host = mesh.hosts[0].np
        mesh.service("shop/web", 80, [server])
        write(client), write(other, node="host-b")
        mesh.start()
        write(server, labels="app: web, 'tier/x': '1'")
        until_enrolled(client, server)
        (p,) = shown(server)
        assert (p["source"], p["service_account"], p["labels"], p["captured"], p["problem"]) == \
            ("workload", "web", "app=web,tier/x=1", True, None), p
        with server.serve(8080):
            assert client.ask(mesh.vip["shop/web"], 80) == b"pod01 hello\n"
        np.until("it left by nodeproxy", lambda: shown(client)[0]["out"]["connections_total"] == 1)

        # of another host: shown, and not captured
        assert condition(other, "Accepted")[0] == "True"
        status, reason, message = condition(other)
        assert (status, reason) == ("False", "OtherNode") and message.startswith("it is on host-b, this is "), message
        assert not other.rules() and not shown(other)

        # other labels: the same pod, not captured anew
        since = p["since_unix_ms"]
        write(server, labels="app: api")
        np.until("its labels are others", lambda: shown(server)[0]["labels"] == "app=api")
        assert shown(server)[0]["since_unix_ms"] == since
        until_enrolled(server)

        # a mode that is the pod's own
        write(server, labels="app: api, nodeproxy.io/source-address: own")
        np.until("its mode is another", lambda: shown(server)[0]["modes"]["source-address"] == "own")

        # an order does not touch it
        for words in (("add", server.name, "--namespace", "shop", "--netns", server.netns),
                      ("remove", server.name, "--namespace", "shop")):
            r = host.ctl("pod", *words)
            assert r.returncode == 1 and "Workload shop/pod01 says how that pod is captured" in r.stderr, r.stderr

        # a document that is refused leaves the last good one
        write(server, netns="relative")
        np.until("refused", lambda: condition(server, "Accepted")[0] == "False")
        assert server.rules() and condition(server)[0] == "True"
        delete(server)
        until_free(server)
        assert client.rules()
        delete(client)
        until_free(client)


def what_cannot_be_captured_says_why_and_is_tried_again():
    with lab.Lab(pods=2) as mesh:
        late, ordered = mesh.pods
        mesh.start()
        write(late, netns=f"{lab.RUN}/{late.ns}x")
        np.until("why not", lambda: condition(late) == (
            "False", "NotCaptured", f"{lab.RUN}/{late.ns}x: No such file or directory"))
        (p,) = shown(late)
        assert not p["captured"] and p["problem"] == condition(late)[2], p
        assert "No such file" in mesh.hosts[0].np.ctl("get", "pods").stdout
        write(late)
        until_enrolled(late)
        late.delete()           # its namespace goes, and comes again
        np.until("it is seen", lambda: condition(late) == ("False", "NotCaptured", f"{late.netns}: No such file or directory"))
        late.build_again()
        until_enrolled(late)

        # it moves to where nobody is: what is captured stays until the new one is
        write(late, netns=f"{lab.RUN}/{late.ns}y")
        np.until("why not", lambda: condition(late)[0] == "False")
        np.until("both are listed", lambda: [p["captured"] for p in shown(late)] == [True, False])
        assert late.rules()
        write(late)
        until_enrolled(late)
        np.until("one is listed", lambda: len(shown(late)) == 1)

        # a pod that an operator has added keeps its name
        ordered.add()
        write(ordered)
        np.until("why not", lambda: condition(ordered)[1] == "NotCaptured" and "an operator has added" in condition(ordered)[2])
        assert [p["source"] for p in shown(ordered)] == ["order", "workload"]
        ordered.remove()
        until_enrolled(ordered)


def workloads_outlive_whoever_said_them():
    with lab.Lab(pods=3) as mesh:
        one, two, three = mesh.pods
        h = mesh.hosts[0].np
        mesh.start()
        write(one), write(two)
        until_enrolled(one, two)
        since = [shown(p)[0]["since_unix_ms"] for p in (one, two)]

        def still():
            assert one.rules() and two.rules()
            assert [shown(p)[0]["since_unix_ms"] for p in (one, two)] == since

        def kill(name):
            was = pid(h, name)
            os.kill(was, signal.SIGKILL)
            np.until(f"another {name}", lambda: pid(h, name) not in (None, was) and h.status()["ready"])
        for name in ("nodeproxy-syncd", "nodeproxy-mastr"):
            kill(name)
            until_enrolled(one, two)
            still()

        # the source goes, then syncd: nobody is freed; what went while it was away goes when it is back
        away = h.resources + ".away"
        os.rename(h.resources, away)
        np.until("the source is lost", lambda: h.status()["sources"][0]["state"] == "lost")
        kill("nodeproxy-syncd")
        until_enrolled(one, two)
        kill("nodeproxy-mastr")
        until_enrolled(one, two)
        still()
        os.unlink(os.path.join(away, f"workload-{two.name}.yaml"))
        os.rename(away, h.resources)
        until_free(two)
        assert one.rules() and shown(one)[0]["since_unix_ms"] == since[0]

        # a master that dies with a change half done
        write(three)
        os.kill(pid(h, "nodeproxy-mastr"), signal.SIGKILL)
        until_enrolled(one, three)

        # a start without the source: from the list, and (a reboot, which forgets the list) from the store
        os.rename(h.resources, away)
        for forget in (False, True):
            h.stop()
            np.until("no rules in them", lambda: not one.rules() and not three.rules())
            if forget:
                os.unlink(os.path.join(h.dir, "run", "pods"))
            h.start()
            until_enrolled(one, three)
        os.rename(away, h.resources)
        h.stop()
        delete(one)             # while nobody looks
        h.start()
        until_enrolled(three)
        until_free(one)


TESTS = [a_workload_is_captured_while_it_is_there, what_cannot_be_captured_says_why_and_is_tried_again,
         workloads_outlive_whoever_said_them]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
