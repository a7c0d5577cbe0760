#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""nodeproxyctl ca: what it makes is what OpenSSL reads and verifies, byte for byte where a byte means
something; nothing is overwritten unasked; no daemon is needed."""
import os
import re
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import np  # noqa: E402

np.only_in_tiers("process")
CTL = os.path.join(np.BUILD, "admin/nodeproxyctl")


def ca(*words, code=0):
    r = subprocess.run([CTL, "ca", *words], capture_output=True, text=True)
    assert r.returncode == code, (words, r.returncode, r.stdout, r.stderr)
    return r.stdout if code == 0 else r.stderr


def openssl(*words, code=0):
    r = subprocess.run(["openssl", *words], capture_output=True, text=True)
    assert (r.returncode == 0) == (code == 0), (words, r.stdout, r.stderr)
    return r.stdout + r.stderr


def extension(text, name):
    """Whether it is critical, and what it says."""
    m = re.search(rf"{name}:( critical)?\s*\n\s+(.*)", text)
    assert m, (name, text)
    return bool(m[1]), m[2].strip()


def roots_and_nodes_are_what_openssl_reads():
    for kind, words in (("p256", "prime256v1"), ("ed25519", "ED25519")):
        with tempfile.TemporaryDirectory(prefix="np-test.") as d:
            root, node = f"{d}/ca", f"{d}/host-a"
            ca("init", "--dir", root, "--trust-domain", "mesh.example", "--key", kind, "--days", "100")
            ca("issue-node", "--dir", root, "--node", "host-a", "--out", node, "--key", kind, "--days", "400")
            assert sorted(os.listdir(root)) == ["root.key", "root.pem"]
            assert sorted(os.listdir(node)) == ["mesh.example.pem", "node.key", "node.pem"]
            for path, mode in ((root, 0o700), (node, 0o700), (f"{root}/root.key", 0o600), (f"{node}/node.key", 0o600)):
                assert stat.S_IMODE(os.stat(path).st_mode) == mode, path
            assert open(f"{node}/mesh.example.pem").read() == open(f"{root}/root.pem").read()
            openssl("verify", "-x509_strict", "-CAfile", f"{root}/root.pem", f"{root}/root.pem")
            openssl("verify", "-x509_strict", "-CAfile", f"{root}/root.pem", f"{node}/node.pem")
            for cert, uri, path in ((f"{root}/root.pem", "URI:spiffe://mesh.example", "CA:TRUE, pathlen:1"),
                                    (f"{node}/node.pem", "URI:spiffe://mesh.example/node/host-a", "CA:TRUE, pathlen:0")):
                text = openssl("x509", "-in", cert, "-noout", "-text")
                assert words in text, text
                assert extension(text, "X509v3 Basic Constraints") == (True, path), text
                assert extension(text, "X509v3 Key Usage") == (True, "Certificate Sign, CRL Sign"), text
                assert extension(text, "X509v3 Subject Alternative Name") == (False, uri), text
                assert "X509v3 Authority Key Identifier" in text and "X509v3 Subject Key Identifier" in text
                assert "Name Constraints" not in text and "Extended Key Usage" not in text
                serial = re.search(r"Serial Number:\s*\n?\s*([0-9a-f:]+)", text)[1].replace(":", "")
                assert len(serial) in (32, 34) and "negative" not in text, serial
            # never longer than the root
            ends = [openssl("x509", "-in", c, "-noout", "-enddate") for c in (f"{root}/root.pem", f"{node}/node.pem")]
            assert ends[0] == ends[1], ends
            # five minutes back
            assert openssl("x509", "-in", f"{node}/node.pem", "-noout", "-checkend", str(99 * 86400)).startswith("Certificate will not")
            out = ca("show", "--dir", node)
            assert "spiffe://mesh.example/node/host-a, issues" in out and "Ed25519" in out or "P-256" in out, out


def nothing_is_overwritten_unasked():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d:
        root, node = f"{d}/ca", f"{d}/n"
        ca("init", "--dir", root)
        key = open(f"{root}/root.key").read()
        assert "is there already; --force" in ca("init", "--dir", root, code=1)
        assert open(f"{root}/root.key").read() == key
        ca("issue-node", "--dir", root, "--node", "n", "--out", node)
        was = {f: open(f"{node}/{f}").read() for f in os.listdir(node)}
        os.unlink(f"{node}/node.key")
        assert "is there already" in ca("issue-node", "--dir", root, "--node", "n", "--out", node, code=1)
        assert not os.path.exists(f"{node}/node.key")       # nothing was written by halves
        ca("issue-node", "--dir", root, "--node", "n", "--out", node, "--force")
        assert open(f"{node}/node.pem").read() != was["node.pem"]
        assert sorted(os.listdir(node)) == sorted(was)
        # a root in place of another: the files of hosts are refused by it
        ca("init", "--dir", root, "--force")
        openssl("verify", "-CAfile", f"{root}/root.pem", f"{node}/node.pem", code=2)
        # a link is not followed
        os.symlink("/nowhere/root.key", f"{d}/link")
        os.mkdir(f"{d}/other")
        os.symlink(f"{d}/target", f"{d}/other/root.key")
        assert "is there already" in ca("init", "--dir", f"{d}/other", code=1)
        assert not os.path.exists(f"{d}/target")


def keys_are_sealed_with_a_passphrase():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d:
        for name, text in (("pass", "correct horse\n"), ("other", "battery\n"), ("empty", "\n")):
            with open(f"{d}/{name}", "w") as f:
                f.write(text)
        root = f"{d}/ca"
        assert "first line is empty" in ca("init", "--dir", root, "--passphrase-file", f"{d}/empty", code=1)
        ca("init", "--dir", root, "--passphrase-file", f"{d}/pass")
        assert "ENCRYPTED PRIVATE KEY" in open(f"{root}/root.key").read()
        openssl("pkey", "-in", f"{root}/root.key", "-passin", "pass:correct horse", "-noout")
        assert "is encrypted" in ca("issue-node", "--dir", root, "--node", "n", "--out", f"{d}/n", code=1)
        assert "passphrase" in ca("issue-node", "--dir", root, "--node", "n", "--out", f"{d}/n", "--passphrase-file", f"{d}/other",
                                  code=1)
        ca("issue-node", "--dir", root, "--node", "n", "--out", f"{d}/n", "--passphrase-file", f"{d}/pass",
           "--node-passphrase-file", f"{d}/other")
        openssl("pkey", "-in", f"{d}/n/node.key", "-passin", "pass:battery", "-noout")
        openssl("verify", "-CAfile", f"{d}/n/cluster.local.pem", f"{d}/n/node.pem")


def what_is_wrong_is_said():
    with tempfile.TemporaryDirectory(prefix="np-test.") as d:
        for words, code, says in (
                (("init",), 2, "--dir is missing"), (("init", "--dir"), 2, "without its value"), (("what",), 2, "no command ca what"),
                (("init", "--dir", d, "--nonsense"), 2, "unknown option"),
                (("init", "--dir", d, "--days", "0"), 2, "days"), (("init", "--dir", d, "--days", "40000"), 2, "days"),
                (("init", "--dir", d, "--key", "rsa"), 2, "p256 or ed25519"),
                (("init", "--dir", d, "--trust-domain", "Upper/x"), 2, "trust domain"),
                (("init", "--dir", f"{d}/a/b"), 1, "No such file"),
                (("issue-node", "--dir", d, "--node", "n", "--out", f"{d}/n"), 1, "root.pem"),
                (("issue-node", "--dir", d, "--out", f"{d}/n"), 2, "--node is missing"),
                (("show", "--dir", d), 1, "neither root.pem nor node.pem")):
            assert says in ca(*words, code=code), (words, ca(*words, code=code))
        ca("init", "--dir", d)
        assert "not the name of a host" in ca("issue-node", "--dir", d, "--node", "a/b", "--out", f"{d}/n", code=2)
        with open(f"{d}/root.pem", "a") as f:
            f.write("-----BEGIN CERTIFICATE-----\nx\n")
        assert "cannot be read" in ca("show", "--dir", d, code=1)
        os.unlink(f"{d}/root.key")
        with open(f"{d}/root.key", "w") as f:
            f.write(openssl("genpkey", "-algorithm", "ed25519"))
        assert "is not the key" in ca("issue-node", "--dir", d, "--node", "n", "--out", f"{d}/n", code=1)
        assert "--passphrase-file FILE" in ca("init", "--help") and "ca issue-node" in ca("--help")


for test in (roots_and_nodes_are_what_openssl_reads, nothing_is_overwritten_unasked, keys_are_sealed_with_a_passphrase,
             what_is_wrong_is_said):
    if not sys.argv[1:] or test.__name__ in sys.argv[1:]:
        test()
        print("ok", test.__name__)
