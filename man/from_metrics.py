#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""The tables of metrics -> nodeproxy-metrics(7), on standard output.

    from_metrics.py metrics.def counters.def reasons.def VERSION"""
import re
import sys

sys.dont_write_bytecode = True      # the source directory may be read-only
from from_commands import esc, heading, table   # noqa: E402

# Scopes of counters.def: their macro guard, the labels, and a title.
SCOPES = (("WORKER_COUNTERS", "worker", "WORKERS"), ("TENANT_COUNTERS", "tenant", "TENANTS"),
          ("TENANT_HISTOGRAMS", "tenant", None), ("SERVICE_COUNTERS", "namespace,service", "SERVICES"),
          ("SERVICE_HISTOGRAMS", "namespace,service", None), ("LISTENER_COUNTERS", "listener", "LISTENERS"))
# Which rows of metrics.def go under which title, by the beginning of their names.
HERE = (("PROCESSES", ("nodeproxy_process_", "nodeproxy_worker_stalls", "nodeproxy_master_", "nodeproxy_bad_")),
        ("WORKERS", ("nodeproxy_worker_",)), ("SERVICES", ("nodeproxy_service_",)),
        ("ENDPOINTS", ("nodeproxy_endpoint",)), ("REASONS", ("nodeproxy_reasons",)),
        ("RESOURCES AND STORE", ("nodeproxy_report", "nodeproxy_store", "nodeproxy_durable", "nodeproxy_not_durable",
                                 "nodeproxy_refused", "nodeproxy_source", "nodeproxy_sync")),
        ("LOGS", ("nodeproxy_log",)), ("HOST", ("nodeproxy_",)))
ORDER = ("HOST", "PROCESSES", "WORKERS", "LISTENERS", "TENANTS", "SERVICES", "ENDPOINTS", "REASONS", "RESOURCES AND STORE", "LOGS")


def metrics(metrics_def, counters_def):
    """Every metric: title, name, type, labels, help."""
    for _, name, kind, labels, words in table(metrics_def, "METRIC"):
        yield (next(t for t, begin in HERE if name.startswith(begin)), name, kind.lower(), labels, words)
    text = open(counters_def, encoding="utf-8").read()
    title = None
    for guard, labels, named in SCOPES:
        title = named or title
        body = re.search(rf"#ifdef {guard}\b.*?\n(.*?)#endif", text, re.S).group(1)
        for macro, row, name, words in re.findall(r'^([CH])\((\w+), "([^"]*)", "([^"]*)"\)', body, re.M):
            if name:
                yield (title, name, "histogram" if macro == "H" else "gauge" if row.endswith("_gauge") else "counter",
                       labels, words)


def main():
    metrics_def, counters_def, reasons_def, version = sys.argv[1:]
    out = heading("nodeproxy-metrics", "7", version, "nodeproxy").replace(
        "admin/commands.def by man/from_commands.py", "admin/metrics.def, workers/obs/counters.def and reasons.def by "
        "man/from_metrics.py")
    out += (".SH NAME\nnodeproxy\\-metrics \\- what nodeproxy counts and measures, for Prometheus\n"
            ".SH SYNOPSIS\n.nf\ncurl http://127.0.0.1:15020/metrics\n.fi\n"
            ".SH DESCRIPTION\nText format 0.0.4, at the address of \\fIadmin.metrics\\fR. Names and labels are stable: some may "
            "be added in later versions, none is renamed or taken away. Counters begin anew with the instance and with an "
            "upgrade; they are in memory that outlives workers, master and admin process.\n.PP\n"
            "Labels have few values, whatever callers and endpoints do: at most 32 pairs of status and reason are kept apart "
            "per worker and Service, and series of single endpoints end at 10,000. Services that share a slot because there are "
            "more than 16,383 are one series without a name, tenants likewise. A Service without traffic has no series of "
            "\\fInodeproxy_service_requests_total\\fR and of its times.\n.PP\n"
            "Times are counted in buckets at most a quarter as wide as their lower bound. Of a Service one bound per octave is "
            "told, from 66 \\(mcs to 69 s; of a tenant one per two octaves, from 8 \\(mcs. "
            "\\fBnodeproxyctl get services\\fR computes quantiles from all of them. Neither opaque flows nor "
            "connections that became a tunnel (101) count: they last as long as somebody likes.\n")
    all_ = list(metrics(metrics_def, counters_def))
    for title in ORDER:
        out += f".SH {title}\n"
        for t, name, kind, labels, words in all_:
            if t == title:
                shown = "{" + labels.replace(",", ", ") + "}" if labels else ""
                out += f".TP\n\\fB{esc(name)}\\fR{esc(shown)} ({kind})\n{esc(words[0].upper() + words[1:])}.\n"
        if title == "REASONS":
            out += (".PP\nThe reasons, who is at fault, the status of the answer when it is nodeproxy's (0: none is given) and "
                    "Envoy's response flag:\n")
            for name, fault, http, _, flag, words in table(reasons_def, "REASON"):
                if name != "NONE":
                    out += f".TP\n\\fB{name}\\fR ({fault.lower()}, {http}, {esc(flag)})\n{esc(words[0].upper() + words[1:])}.\n"
    out += (".SH EXAMPLES\n.nf\n"
            "# failed requests by Service and why\n"
            "sum by (namespace, service, code, reason) (rate(nodeproxy_service_requests_total{code=~\"5..|0\"}[5m]))\n"
            "# the slowest percent\n"
            "histogram_quantile(0.99, sum by (le, service) (rate(nodeproxy_service_request_duration_seconds_bucket[5m])))\n"
            "# what a tenant costs, in CPUs\n"
            "sum by (tenant) (rate(nodeproxy_tenant_busy_seconds_total[5m]))\n"
            "# workers that do not serve the newest view\n"
            "nodeproxy_worker_view_lag_seconds > 5\n.fi\n"
            ".SH SEE ALSO\n.BR nodeproxy (8),\n.BR nodeproxyctl (1),\n.BR nodeproxy\\-api (7),\n.BR nodeproxy.yaml (5)\n")
    sys.stdout.write(out)


if __name__ == "__main__":
    main()
