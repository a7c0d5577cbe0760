#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""nodeproxy-cni as a container runtime runs it: real namespaces, a nodeproxy that runs, is away, or is
somebody else."""
import json
import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

RESULT = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "x"}], "ips": [{"address": "10.0.0.2/24", "interface": 0}]}


def run(command, text, netns="", args="IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1", env=None):
    """Exit code, and what stood on standard output: an object or None."""
    env = dict({k: v for k, v in os.environ.items() if not k.startswith("CNI_")}, CNI_COMMAND=command, CNI_CONTAINERID="c",
               CNI_IFNAME="eth0", CNI_PATH="/opt/cni/bin", CNI_NETNS=netns, CNI_ARGS=args, **(env or {}))
    r = subprocess.run([os.path.join(np.BUILD, "nodeproxy-cni")], input=text, capture_output=True, timeout=np.DEADLINE,
                       env={k: v for k, v in env.items() if v is not None})
    assert b"Sanitizer" not in r.stderr, r.stderr
    return r.returncode, json.loads(r.stdout) if r.stdout.strip() else None


def config(host=None, **more):
    c = {"cniVersion": "1.0.0", "name": "pods", "type": "nodeproxy-cni", "prevResult": RESULT, **more}
    if host:
        c["socket"] = host.socket
    return json.dumps({k: v for k, v in c.items() if v is not None}).encode()


def fails(code, *words, **more):
    rc, o = run(*words, **more)
    assert rc == 1 and o["code"] == code and o["msg"] and o["cniVersion"], (code, rc, o)
    return o


def pods_are_captured_checked_and_set_free():
    with lab.Lab(pods=2) as mesh:
        pod, other = mesh.pods
        host = mesh.hosts[0].np
        mesh.start()
        fails(101, "CHECK", config(host), netns=pod.netns)
        labels = {"cni": {"labels": [{"key": "app", "value": "web"}, {"key": "v", "value": "1"}]}}
        for version in ("1.0.0", "0.4.0", "0.3.1", "1.0.0"):     # again and again
            rc, o = run("ADD", config(host, cniVersion=version, serviceAccount="web", args=labels), netns=pod.netns)
            assert rc == 0 and o == dict(RESULT, cniVersion=version), (rc, o)
        told = host.api("pods")["pods"]
        assert [(p["namespace"], p["name"], p["service_account"], p["labels"], p["netns"]) for p in told] == \
            [("shop", "web-0", "web", "app=web,v=1", pod.netns)], told
        assert pod.rules()
        assert run("CHECK", config(host), netns=pod.netns) == (0, None)
        fails(101, "CHECK", config(host), netns=other.netns)

        # The pod is made anew, and then comes what is left to say of the one before.
        assert run("ADD", config(host), netns=other.netns)[0] == 0
        for netns in (pod.netns, ""):
            assert run("DEL", config(host), netns=netns) == (0, None)
        assert [p["netns"] for p in host.api("pods")["pods"]] == [other.netns]
        for _ in range(3):
            assert run("DEL", config(host, prevResult=None), netns=other.netns) == (0, None)
        np.until("no pod", lambda: host.api("pods")["pods"] == [] and not pod.rules() and not other.rules())

        # What nodeproxy refuses is said in its words, also where whenAway is open.
        o = fails(100, "ADD", config(host, whenAway="open"), netns="/nowhere")
        assert "/nowhere" in o["msg"], o
        fails(100, "ADD", config(host), netns=pod.netns, args="K8S_POD_NAME=Web;K8S_POD_NAMESPACE=shop")

        # It is away.
        assert run("ADD", config(host), netns=pod.netns)[0] == 0
        host.stop()
        o = fails(11, "ADD", config(host), netns=other.netns)
        assert o["msg"] == "nodeproxy cannot be reached" and host.socket in o["details"], o
        rc, o = run("ADD", config(host, whenAway="open"), netns=other.netns)
        assert rc == 0 and o == RESULT and not other.rules(), (rc, o)
        fails(11, "CHECK", config(host), netns=pod.netns)
        assert run("CHECK", config(host, whenAway="open"), netns=pod.netns) == (0, None)
        assert run("DEL", config(host), netns=other.netns) == (0, None)

        # Somebody else is there, or somebody who says nothing.
        os.unlink(host.socket) if os.path.exists(host.socket) else None
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(host.socket)
            s.listen(4)
            fails(11, "ADD", config(host, timeoutSeconds=1), netns=pod.netns)
            s.accept()[0].close()

            def answer():
                with s.accept()[0] as c:
                    c.recv(4096)
                    c.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nno\n")
            t = threading.Thread(target=answer)
            t.start()
            fails(100, "ADD", config(host), netns=pod.netns)
            t.join()


def what_a_runtime_says_is_looked_at():
    rc, o = run("VERSION", b'{"cniVersion": "1.0.0"}')
    assert rc == 0 and o == {"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}, (rc, o)
    assert run("VERSION", b'{"cniVersion": "7.0.0"}')[1]["cniVersion"] == "1.0.0"
    assert run("VERSION", b'{"cniVersion": "0.4.0"}')[1]["cniVersion"] == "0.4.0"
    there = dict(netns="/run/netns/none")
    for code, text in ((6, b""), (6, b"{"), (6, b"[]"), (6, b"\xff\xfe"), (6, b'{"a":1,"a":2}'), (6, b"[" * 100000),
                       (1, b"{}"), (1, b'{"cniVersion": "0.2.0"}'), (1, b'{"cniVersion": 1}'),
                       (7, b'{"cniVersion": "1.0.0", "x": "' + b"y" * (2 << 20) + b'"}'),
                       (2, config(color="red")), (7, config(prevResult=None)), (7, config(prevResult=[])),
                       (7, config(socket="")), (7, config(socket="/" * 108)), (7, config(socket=1)),
                       (7, config(whenAway="closed")), (7, config(whenAway=True)),
                       (7, config(timeoutSeconds=0)), (7, config(timeoutSeconds=61)), (7, config(timeoutSeconds="5")),
                       (7, config(serviceAccount="x" * 64)), (6, config(serviceAccount="\0")),
                       (7, config(args={"cni": {"labels": [{"key": "a"}]}})),
                       (7, config(args={"cni": {"labels": [{"key": "a" * 200, "value": "b" * 200}]}}))):
        fails(code, "ADD", text, **there)
    for words in (dict(netns=""), dict(netns=None), dict(netns="run/x"), dict(netns="/" + "x" * 200), dict(args=None), dict(args=""),
                  dict(args="K8S_POD_NAME=a"), dict(args="K8S_POD_NAMESPACE=a"), dict(args="K8S_POD_NAME=;K8S_POD_NAMESPACE=a"),
                  dict(args="XK8S_POD_NAME=a;K8S_POD_NAMESPACE=a"), dict(args=f"K8S_POD_NAME={'a' * 64};K8S_POD_NAMESPACE=a")):
        fails(4, "ADD", config(), **dict(there, **words))
    for command in ("", "add", "GC", "ADD "):
        fails(4, command, config(), **there)
    r = subprocess.run([os.path.join(np.BUILD, "nodeproxy-cni")], capture_output=True, text=True, timeout=np.DEADLINE,
                       env={k: v for k, v in os.environ.items() if k != "CNI_COMMAND"})
    assert r.returncode == 0 and "nodeproxy-cni(8)" in r.stdout, r


def the_sample_is_one():
    with open(os.path.join(np.SOURCE, "admin/cni/nodeproxy.conflist")) as f:
        c = json.load(f)
    ours = dict(c["plugins"][-1], cniVersion=c["cniVersion"], name=c["name"], socket="/nowhere", prevResult=RESULT)
    fails(11, "ADD", json.dumps(ours).encode(), netns="/run/netns/none")


TESTS = [what_a_runtime_says_is_looked_at, the_sample_is_one, pods_are_captured_checked_and_set_free]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        test()
        print(f"ok {test.__name__}", flush=True)
