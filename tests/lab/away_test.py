#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""What becomes of captured pods while nodeproxy does not run: when-away of their namespace."""
import contextlib
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import np   # noqa: E402

STAYS = "when-away-closed"


def when_away(host, mode):
    host.np.write("namespace-shop.yaml", f"apiVersion: v1\nkind: Namespace\n"
                  f"metadata: {{name: shop, labels: {{nodeproxy.io/when-away: {mode}}}}}\n")


def nft(pod, *words):
    r = subprocess.run(["nsenter", f"--net={pod.netns}", "nft", *words], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def stays(pod):
    return STAYS in nft(pod, "list", "ruleset")


def refused(pod, address, port):
    try:
        with pod.dial(address, port):
            return False
    except ConnectionRefusedError:
        return True


def kill_all(host):
    """All of its processes at once, none has the time to do anything."""
    pids = [host.keeper(), *host.pids()]
    for p in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(p, 19)
    for p in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(p, 9)
    host.process.wait(np.DEADLINE)
    np.until("all of them are gone", lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))


class Callers:
    """Dial without a pause, say their port, and wait for no answer for long."""

    def __init__(self, pod, address):
        self.pod, self.address, self.answered, self.refused, self.ended = pod, address, 0, 0, False
        self.threads = [threading.Thread(target=lab.inside, args=(pod.ns, self._run)) for _ in range(4)]

    def _run(self):
        while not self.ended:
            with lab.socket.socket() as s:
                s.settimeout(0.02)
                try:
                    s.connect((self.address, 8080))
                    s.sendall(b"%d\n" % s.getsockname()[1])
                    self.answered += lab.read_line(s) != b""
                except TimeoutError:
                    pass
                except OSError:
                    self.refused += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        for t in self.threads:
            t.join()


def closed_refuses_while_nobody_runs():
    with lab.Lab(pods=3) as mesh:
        client, server, stranger = mesh.pods
        host = mesh.hosts[0]
        when_away(host, "closed")
        mesh.start()
        client.add(), server.add()
        np.until("the rules stay", lambda: stays(client) and stays(server))
        seen = []

        def answer(c):
            line = lab.read_line(c)
            seen.append((int(line), c.getpeername()[1]))
            c.sendall(line)
        with server.serve(8080), stranger.serve(8080, fn=answer):
            def serves():
                for a in server.addresses:
                    assert client.ask(a, 8080) == b"pod01 hello\n"

            def is_closed():
                for a in server.addresses:
                    assert refused(client, a, 8080) and refused(stranger, a, 8080)
                assert refused(client, stranger.ip4, 8080)

            serves()
            for end in (lambda: kill_all(host.np), host.np.stop):
                end()
                is_closed()
                # and nothing gets through uncaptured when it is started again
                with Callers(client, stranger.ip4) as callers:
                    np.until("they are refused", lambda c=callers: c.refused)
                    host.np.start()
                    np.until("they are answered", lambda c=callers: c.answered > 10)
                # who is captured is not who the server sees
                assert seen and not [1 for said, is_ in seen if said == is_], seen
                np.until("the rules stay", lambda: stays(client) and stays(server))
                serves()
        # it leaves nothing behind
        client.remove(), server.remove()
        np.until("no rules in them", lambda: not client.rules() and not server.rules())
        host.np.stop()


def the_mode_changes_live():
    with lab.Lab(pods=2) as mesh:
        client, server = mesh.pods
        host = mesh.hosts[0]
        mesh.start()
        client.add(), server.add()
        assert not stays(client)
        with server.serve(8080), client.dial(server.ip4, 8080) as s:
            def runs():
                s.sendall(b"still\n")
                assert lab.read_line(s) == b"pod01 still\n"
                assert client.ask(server.ip6, 8080) == b"pod01 hello\n"
            runs()
            for _ in range(3):
                when_away(host, "closed")
                np.until("the rules stay", lambda: stays(client) and stays(server))
                runs()
                when_away(host, "open")
                np.until("the rules do not stay", lambda: not stays(client) and not stays(server))
                runs()
            # a master that dies with the change under way makes it true when it is back
            for mode in ("closed", "open", "closed"):
                when_away(host, mode)
                os.kill(next(p for p, name in host.np.pids().items() if name == "nodeproxy-mastr"), 9)
                np.until(f"it is {mode}", lambda m=mode: stays(client) == stays(server) == (m == "closed"))
                runs()
            # somebody flushed the rules: another change puts them back
            nft(client, "delete", "table", "inet", "nodeproxy")
            when_away(host, "open")
            np.until("rules of ours", lambda: client.rules() and not stays(client) and not stays(server))
            runs()
            kill_all(host.np)
            np.until("no rules in them", lambda: not client.rules() and not server.rules())
            assert client.ask(server.ip4, 8080) == b"pod01 hello\n"


def what_is_closed_is_set_free_by_whoever_may():
    with lab.Lab(pods=3) as mesh:
        kept, freed, foreign = mesh.pods
        host = mesh.hosts[0]
        when_away(host, "closed")
        mesh.start()
        kept.add(), freed.add()
        # a table of that name which is not ours is left alone
        nft(foreign, "add", "table", "inet", "nodeproxy")
        r = host.np.ctl("pod", "add", foreign.name, "--namespace", "shop", "--netns", foreign.netns)
        assert r.returncode == 1 and "it has a table inet nodeproxy of somebody else" in r.stderr, r.stderr
        assert nft(foreign, "list", "ruleset").strip() == "table inet nodeproxy {\n}"

        freed.remove()
        np.until("no rules in it", lambda: not freed.rules())
        # the list is lost: what is left is taken over by the next who adds it
        kill_all(host.np)
        os.unlink(os.path.join(host.np.dir, "run", "pods"))
        host.np.start()
        assert stays(kept) and host.np.api("pods")["pods"] == []
        kept.add()
        kept.remove()
        np.until("no rules in it", lambda: not kept.rules())

        # the label went while nobody looked
        kept.add()
        kill_all(host.np)
        when_away(host, "open")
        host.np.start()
        np.until("its rules do not stay", lambda: kept.rules() and not stays(kept))
        host.np.stop()
        assert not kept.rules()


TESTS = [closed_refuses_while_nobody_runs, the_mode_changes_live, what_is_closed_is_set_free_by_whoever_may]

if __name__ == "__main__":
    np.need_root()
    np.only_in_tiers("process")
    for test in TESTS:
        if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
            continue
        began = time.monotonic()
        test()
        print(f"ok {test.__name__} {time.monotonic() - began:.1f} s", flush=True)
