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
    for row in rows("workers/obs/counters.def", "C"):
        n += 1
        name, prom, help_ = re.match(r'(\w+), "([^"]*)", "([^"]*)"', row).groups()
        if prom and not help_:
            bad.append(f"counters.def: {name}: a metric without help")
        if prom and not prom.startswith("nodeproxy_"):
            bad.append(f"counters.def: {name}: {prom} does not start with nodeproxy_")
        if prom and name.endswith("_gauge") == prom.endswith("_total"):
            bad.append(f"counters.def: {name}: gauges have no _total, counters do")
    for row in rows("workers/obs/counters.def", "H"):
        n += 1
        name, prom, help_ = re.match(r'(\w+), "([^"]*)", "([^"]*)"', row).groups()
        if not help_ or not re.match("nodeproxy_.*_seconds$", prom):
            bad.append(f"counters.def: {name}: a histogram without help, or not named nodeproxy_..._seconds")
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
    for b in bad:
        print(b)
    print(f"defs: {n} rows, {len(bad)} problems")
    return 1 if bad or n == 0 else 0


sys.exit(main())
