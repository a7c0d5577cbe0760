#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""How captured pods of a namespace are treated: its modes, whose address applications see, the way to
pods of the same host."""
import os
import re
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402


def namespace(host, name="shop", **modes):
    """Writes the Namespace with these modes, _ for -."""
    labels = ", ".join(f"nodeproxy.io/{k.replace('_', '-')}: {v}" for k, v in modes.items())
    host.np.write(f"namespace-{name}.yaml",
                  f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")


def modes(pod):
    """Of a captured pod, as the master has them."""
    p = next((p for p in pod.host.np.api("pods")["pods"] if p["name"] == pod.name), None)
    return p and p["modes"]


def has(pod, **want):
    want = {k.replace("_", "-"): v for k, v in want.items()}
    np.until(f"{pod.name} to have {want}, not {modes(pod)}", lambda: want.items() <= (modes(pod) or {}).items())


def die(host, comm):
    """A process of the host is killed, and there is another one."""
    def pid():
        return next((p for p, c in host.np.pids().items() if c == comm), None)
    was = pid()
    os.kill(was, 9)
    np.until(f"another {comm}", lambda: pid() not in (None, was))


def modes_follow_the_namespace_and_outlive_everybody():
    with lab.Lab(pods=2) as mesh:
        pod, own = mesh.pods
        host = pod.host
        namespace(host, when_away="closed", source_address="proxy-protocol")
        mesh.start()
        pod.add(), own.add("--label", "app=web,nodeproxy.io/source-address=own")
        has(pod, when_away="closed", source_address="proxy-protocol", same_host="direct")
        has(own, when_away="closed", source_address="own")
        described = host.np.ctl_json("describe", "namespace", "shop")["modes"]
        assert described == {"unknown-destination": "pass", "same-host": "direct", "when-away": "closed",
                             "source-address": "proxy-protocol"}, described
        r = host.np.ctl("pod", "add", "bad", "--namespace", "shop", "--netns", pod.netns, "--label", "nodeproxy.io/when-away=open")
        assert r.returncode == 2 and "only the label source-address" in r.stderr, r.stderr

        namespace(host, when_away="closed", same_host="veth")       # live
        has(pod, source_address="preserve", same_host="veth")
        has(own, source_address="own", same_host="veth")

        # What happens while one of them is away is told when it is back.
        for comm, mode in (("nodeproxy-syncd", "direct"), ("nodeproxy-mastr", "veth"), ("nodeproxy-syncd", "direct")):
            die(host, comm)
            namespace(host, when_away="closed", same_host=mode)
            has(pod, when_away="closed", same_host=mode)
        os.remove(os.path.join(host.np.resources, "namespace-shop.yaml"))
        has(pod, when_away="open")
        namespace(host, when_away="closed")
        has(pod, when_away="closed")

        # And all of it from the last start, without the source.
        host.np.stop()
        os.rename(host.np.resources, host.np.resources + ".away")
        host.np.start()
        np.until("the pods to be back", lambda: modes(pod) and modes(own))
        has(pod, when_away="closed", source_address="preserve")
        has(own, when_away="closed", source_address="own")


def unknown_destinations_are_denied_live():
    with lab.Lab(hosts=2, pods=1) as mesh:
        (client,), (known,) = mesh.hosts[0].pods, mesh.hosts[1].pods
        host = client.host.np
        nobody = "10.99.0.2", "fd99::2"     # the other host's own
        mesh.service("shop/web", 80, [known])
        namespace(client.host, unknown_destination="deny")
        mesh.start()
        client.add()

        def refused(address, said=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            with client.dial(address, 9999) as s:
                s.sendall(said)
                try:
                    return s.recv(4096) or b"end"
                except ConnectionResetError:
                    return b""

        def explained(address):
            return host.ctl("explain", f"http://{address}/", "--from", "shop/" + client.name).stdout

        with known.serve(8080), known.serve(9999):
            for family, address in zip(("", "/6"), known.addresses):
                assert client.ask(mesh.vip["shop/web" + family], 80) == b"pod10 hello\n"
                assert client.ask(address, 9999) == b"pod10 hello\n"       # an endpoint's, be it at another port
            assert "an endpoint has the address" in explained(f"{known.ip4}:9999"), explained(f"{known.ip4}:9999")
            for address in nobody:
                answer = refused(address)
                assert answer.startswith(b"HTTP/1.1 502 ") and b"nodeproxy.io/unknown-destination" in answer, answer
                assert refused(address, b"\x16\x03\x01 no HTTP, and more of it") == b"", "a reset"
            said = explained("10.99.0.2:9999")
            assert "UNKNOWN_DESTINATION" in said and "unknown-destination: deny" in said, said
            np.until("four lines", lambda: 4 == len(re.findall(
                "listener=out:pod00 service=- .* reason=UNKNOWN_DESTINATION flag=UH", open(host.access_log).read())))

            namespace(client.host, unknown_destination="pass")
            server = lab.inside(known.host.ns, lambda: socket.create_server(("10.99.0.2", 9999)))
            with server:
                np.until("it to pass", lambda: "as it was dialled" in explained("10.99.0.2:9999"))
                client.dial("10.99.0.2", 9999).close()
                assert server.accept()[1][0] == client.ip4


TESTS = [modes_follow_the_namespace_and_outlive_everybody, unknown_destinations_are_denied_live]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
