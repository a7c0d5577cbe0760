#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""Every row of a table is documented: no empty help, and a man page or generated page names it."""
import os
import re
import sys

TOP = os.environ.get("top_srcdir", ".")
BUILD = os.environ.get("top_builddir", TOP)


def read(*path):
    for top in (BUILD, TOP):
        p = os.path.join(top, *path)
        if os.path.exists(p):
            return open(p, encoding="utf-8").read()
    return None


def rows(path, macro):
    text = re.sub(r"/\*.*?\*/", "", read(path) or "", flags=re.S)
    return [m.group(1) for m in re.finditer(r"^%s\((.*)\)\s*$" % macro, text, re.M)]


# Units that are no base units, and words of which Prometheus' conventions think the same.
NO_UNITS = r"_(ns|us|ms|milliseconds|microseconds|nanoseconds|minutes|hours|kib|mib|kilobytes|megabytes|percent)(_|$)"


TYPES = ("text", "number", "real", "flag", "texts", "numbers", "map", "words", "any")


def fields(bad):
    """Rows of answers: of a command or an object that there is, with a type that there is, once."""
    objects, known, n = set(), set(), 0
    commands = set(re.findall(r"^CMD\((\w+), ", read("admin/commands.def") or "", re.M))
    for row in rows("admin/fields.def", "OBJECT"):
        objects.add(re.match(r'"(\w+)", "[^"]*"$', row)[1])
    for row in rows("admin/fields.def", "FIELD"):
        n += 1
        cells = re.fullmatch(r'"(\w+)", "(\w*)", "(\[?\w+\]?)\??", "([^"]*)"', row)
        if not cells:
            bad.append(f"fields.def: FIELD({row[:60]}: not a row")
            continue
        of, key, kind, _ = cells.groups()
        if of not in commands | objects:
            bad.append(f"fields.def: {of} is neither a command nor an OBJECT")
        if kind.strip("[]") not in objects and kind not in TYPES:
            bad.append(f"fields.def: {of}.{key}: no such type: {kind}")
        if key and (of, key) in known:
            bad.append(f"fields.def: {of}.{key}: twice")
        known.add((of, key))
    for name in objects & commands:
        bad.append(f"fields.def: {name} is a command: an OBJECT needs another name")
    for name in commands - {of for of, _ in known}:
        bad.append(f"fields.def: what the command {name} answers is not said")
    return n


def metric(bad, where, name, kind, labels, help_, page, seen):
    if not help_ or help_.endswith(".") or "\\n" in help_:
        bad.append(f"{where}: {name}: no help, or one that is not a phrase")
    if not re.fullmatch(r"nodeproxy(_[a-z0-9]+)+", name):
        bad.append(f"{where}: {name}: not nodeproxy_ and lower case words")
    if re.search(NO_UNITS, name):
        bad.append(f"{where}: {name}: base units are seconds and bytes, without prefixes")
    if (kind == "counter") != name.endswith("_total"):
        bad.append(f"{where}: {name}: counters end in _total, and nothing else does")
    if kind == "histogram" and not name.endswith("_seconds"):
        bad.append(f"{where}: {name}: a histogram of durations ends in _seconds")
    if re.search(r"_(bucket|sum|count|info_total)$", name):
        bad.append(f"{where}: {name}: this ending belongs to the samples of a histogram")
    for label in filter(None, labels.split(",")):
        if not re.fullmatch(r"[a-z]+", label) or label in ("le", "quantile", "job", "instance"):
            bad.append(f"{where}: {name}: no such label: {label}")
    if name in seen:
        bad.append(f"{where}: {name}: twice")
    seen.add(name)
    if page is not None and not re.search(r"\\fB%s\\fR" % name, page):
        bad.append(f"man/nodeproxy-metrics.7 does not name {name}")


def metrics(bad):
    """Names, units and help of all metrics, each in the manual page; none outside the tables."""
    page, seen, n = read("man/nodeproxy-metrics.7"), set(), 0
    page = page and page.replace("\\-", "-")
    for macro in ("C", "H"):
        for row in rows("workers/obs/counters.def", macro):
            n += 1
            name, prom, help_ = re.match(r'(\w+), "([^"]*)", "([^"]*)"', row).groups()
            kind = "histogram" if macro == "H" else "gauge" if name.endswith("_gauge") else "counter"
            if prom:
                metric(bad, "counters.def", prom, kind, "", help_, page, seen)
            if bool(re.search("_ns(_gauge)?$", name)) != bool(re.search("_seconds(_total)?$", prom)) and macro == "C":
                bad.append(f"counters.def: {name}: metrics tell seconds of rows that end in _ns (or _ns_gauge), and of no others")
    for row in rows("admin/metrics.def", "METRIC"):
        n += 1
        cells = re.fullmatch(r'(\w+), "([^"]*)", (GAUGE|COUNTER), "([^"]*)", "([^"]*)"', row)
        if not cells:
            bad.append(f"metrics.def: METRIC({row[:60]}: not a row")
            continue
        metric(bad, "metrics.def", cells[2], cells[3].lower(), cells[4], cells[5], page, seen)
    for path in ("admin/metrics.c", "admin/metrics_format.c", "admin/metrics_service.c"):
        if '"nodeproxy_' in re.sub(r"/\*.*?\*/", "", read(path), flags=re.S):
            bad.append(f"{path}: a metric that has no row")
    return n


def main():
    bad, n = [], 0
    page = (read("man/nodeproxy.yaml.5") or "").replace("\\-", "-").replace("\\&", "")
    for macro in ("STR", "NUM", "ENU", "LSTR", "LNUM", "LENU"):
        for row in rows("nodeproxy/lib/knobs/knobs.def", macro):
            n += 1
            key = re.match(r'"([^"]+)"', row)
            if not key:
                bad.append(f"knobs.def: {macro}({row[:40]}: no key")
                continue
            help_ = re.findall(r'"((?:[^"\\]|\\.)*)"', row)[-1]
            if not help_.strip():
                bad.append(f"knobs.def: {key.group(1)}: empty help")
            if page and key.group(1).split(".")[-1] not in page:
                bad.append(f"man/nodeproxy.yaml.5 does not name {key.group(1)}")
    page = (read("man/nodeproxy-resources.5") or "").replace("\\-", "-").replace("\\&", "")
    top = ("apiVersion", "kind", "metadata", "spec")
    for row in rows("store/resource/kinds.def", "FIELD"):
        n += 1
        cells = re.match(r'(\w+), "([^"]+)", .*, (SERVED|INERT|DROPPED|REFUSED), (true|false), "(.*)"$', row)
        if not cells:
            bad.append(f"kinds.def: FIELD({row[:60]}: not a row")
            continue
        obj, name, _, _, help_ = cells.groups()
        if not help_ and name not in top:
            bad.append(f"kinds.def: {obj}: {name}: empty help")
        if page and name not in top and not re.search(r'[".]%s(\[\])?"' % re.escape(name), page):
            bad.append(f"man/nodeproxy-resources.5 does not name {obj}: {name}")
    for row in rows("nodeproxy/lib/base/reasons.def", "REASON"):
        n += 1
        if not re.search(r'"[^"]+"$', row):
            bad.append(f"reasons.def: {row.split(',')[0]}: no words")
    n += metrics(bad)
    tests = read("tests/unit/nodeproxy/lib/net/test_tls.c") + read("tests/unit/nodeproxy/lib/net/test_tls_mesh.c")
    for row in rows("nodeproxy/lib/net/tls_faults.def", "FAULT"):
        n += 1
        name, words = re.match(r'(\w+), *"([^"]*)"$', row).groups()
        if not words or name != "NONE" and f"TLS_FAULT_{name}" not in tests:
            bad.append(f"tls_faults.def: {name}: no words, or no test names it")
    tests = read("tests/unit/nodeproxy/lib/net/test_h2_guard.c") + read("tests/unit/nodeproxy/lib/net/test_h2.c")
    for row in rows("nodeproxy/lib/net/h2_offences.def", "OFFENCE"):
        n += 1
        name, words = re.match(r'(\w+), .*"([^"]*)"$', row).groups()
        if not words or f"H2_OFFENCE_{name}" not in tests:
            bad.append(f"h2_offences.def: {name}: no words, or no test names it")
    code = "".join(read(f"nodeproxy/lib/net/{f}.c") for f in ("h2", "h2_guard", "h2_send", "h2_stream", "h2_window", "h2_wire"))
    for row in rows("nodeproxy/lib/net/h2_limits.def", "LIMIT"):
        n += 1
        name, words = re.match(r'(\w+), .*"([^"]*)"$', row).groups()
        if not words or not re.search(r"\b(lim|\(lim\))->%s\b" % name, code):
            bad.append(f"h2_limits.def: {name}: no words, or nobody keeps it")
    # Every command and argument has help, a permission and its lines in both manual pages.
    text = re.sub(r"/\*.*?\*/", "", read("admin/commands.def") or "", flags=re.S)
    pages = {p: (read("man/" + p) or "").replace("\\-", "-").replace("\\&", "")
             for p in ("nodeproxyctl.1", "nodeproxy-api.7")}
    for m in re.finditer(r'^CMD\((\w+), "([^"]+)", (\w+), "([^"]+)", (\w+), .*?"([^"]*)"\)$', text, re.M | re.S):
        name, words, _, path, permission, help_ = m.groups()
        n += 1
        if not help_ or permission not in ("LOOK", "CHANGE", "DEBUG"):
            bad.append(f"commands.def: {name}: no help, or no such permission")
        for page, word in (("nodeproxyctl.1", words), ("nodeproxy-api.7", path)):
            if pages[page] and word not in pages[page]:
                bad.append(f"man/{page} does not name {word}")
    for m in re.finditer(r'^ARG\((\w+), (\w+), \w+, "([^"]*)", "([^"]*)", "([^"]*)"\)$', text, re.M):
        n += 1
        if not m.group(5):
            bad.append(f"commands.def: {m.group(1)}: {m.group(2)}: empty help")
    n += fields(bad)
    for b in bad:
        print(b)
    print(f"defs: {n} rows, {len(bad)} problems")
    return 1 if bad or n == 0 else 0


sys.exit(main())
