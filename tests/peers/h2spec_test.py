#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""h2spec, the conformance suite of HTTP/2 and HPACK, strict, against a listener.

It is not in Debian: `./run-tests --full` builds it from its registry (github.com/summerwind/h2spec, a Go
module); $H2SPEC names another one.

One case cannot pass: it says nonsense in place of the preface, and takes the 400 that a port which
serves HTTP/1.1 too owes for that (RFC 9112 section 3) for a broken frame."""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", "."), "tests/lib"))
import np  # noqa: E402

HTTP1_ANSWERED = "Sends invalid connection preface"

np.only_in_tiers("process")
np.need_root()


def main():
    tool = os.environ.get("H2SPEC") or shutil.which("h2spec")
    if not tool:
        np.skip("h2spec is not installed (./run-tests --full builds it)")
    with np.Host(workers=1) as host:
        host.service("shop/web", 80, [host.backend("one").port])
        host.start()
        np.until("an answer", lambda: host.get("/").status == 200)
        r = subprocess.run([tool, "--strict", "-h", "127.0.0.1", "-p", str(host.port), "-o", "5"], capture_output=True, text=True)
        print(r.stdout[-6000:], r.stderr[-1000:])
        done = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", r.stdout)
        assert done, "h2spec said no result"
        tests, passed, skipped, failed = map(int, done.groups())
        assert passed + skipped + failed == tests and passed > 100
        # The summary says each again, with what came instead.
        bad = r.stdout.partition("Failures:")[2]
        assert failed == 1 and re.findall(r"\u00d7 \d+: (.*)", bad) == [HTTP1_ANSWERED]
        assert "looked like an HTTP/1.1 header" in bad
        assert all(w["restarts"] == 0 for w in host.status()["workers"])


main()
