#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
"""admin/commands.def -> nodeproxyctl(1), nodeproxy-api(7) or bash completion, on standard output.

    from_commands.py commands.def VERSION nodeproxyctl.1 checks.def debug.def
    from_commands.py commands.def VERSION nodeproxy-api.7 fields.def
    from_commands.py commands.def VERSION nodeproxyctl.bash"""
import re
import sys


def rows(text):
    """Every CMD(...), ARG(...), COL(...), LOCAL(...), LARG(...): its name and its arguments, strings without quotes."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for m in re.finditer(r"^(CMD|ARG|COL|LOCAL|LARG)\(((?:[^\"()]|\([^)]*\)|\"(?:[^\"\\]|\\.)*\")*)\)\s*$", text, re.M):
        args = re.findall(r'"((?:[^"\\]|\\.)*)"|([\w()]+)', m.group(2))
        yield m.group(1), [a or b for a, b in args]


def esc(s):
    return re.sub(r"^([.'])", r"\\&\1", s.replace("\\", "\\\\").replace("-", "\\-"))


def heading(name, section, version, title):
    return (f".\\\" SPDX-License-Identifier: Apache-2.0\n.\\\" Copyright the nodeproxy authors\n"
            f".\\\" Made from admin/commands.def by man/from_commands.py.\n"
            f".TH {name.upper()} {section} \"\" \"nodeproxy {version}\" \"{title}\"\n")


def usage(c):
    out = f"\\fB{esc(c['words'])}\\fR"
    for a in c["args"]:
        if not a["option"]:
            out += f" \\fI{esc(a['value'])}\\fR"
        elif a["kind"].endswith("FLAG"):
            out += f" [\\fB{esc(a['option'])}\\fR]"
        else:
            out += f" [\\fB{esc(a['option'])}\\fR \\fI{esc(a['value'])}\\fR]"
    return out


def table(path, macro):
    """Rows of another table: lists of strings."""
    text = re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    for m in re.finditer(rf"^{macro}\(((?:[^\"()]|\"(?:[^\"\\]|\\.)*\"\s*)*)\)\s*$", text, re.M):
        fields = re.split(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", m.group(1))
        yield ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', f)) if '"' in f else f.strip() for f in fields]


def misbehaviour(path):
    roles = {"W": "worker", "S": "syncd", "A": "admind", "K": "keyd", "M": "master"}
    out = (".SH MISBEHAVIOUR\nWhat \\fBdebug\\fR makes a process do, to see that the host survives it. Not in builds with "
           "\\-\\-disable\\-debug\\-commands.\n")
    for name, words, who, how, default, most, number, text in table(path, "MISBEHAVE"):
        out += f".TP\n\\fB{esc(words)}\\fR" + (f" [\\fI{esc(number)}\\fR]" if number else "") + f"\nThe process {esc(text)}."
        out += f" Default {default}, at most {most}." if number else ""
        out += " Of: " + ", ".join(roles[r.strip()] for r in who.split("|")) + ".\n"
    return out


def findings(path):
    out = (".SH FINDINGS\nWhat \\fBcheck\\fR can find. Without a daemon (exit status 3) it finds what can be seen of the host, and "
           "what nodeproxy \\-t says of the bootstrap file (NODEPROXY_CONFIG).\n")
    for name, severity, title, todo in table(path, "CHECK"):
        out += (f".TP\n\\fB{esc(name)}\\fR ({severity.lower()})\n{esc(title[0].upper() + title[1:])}: "
                f"{esc(todo)}.\n")
    return out


# What a LOCAL command needs of others, by the program that does it.
WHO = {"nodeproxy-ca": "No daemon is asked.\n",
       "nodeproxy-resources": "With the rights of who runs it; no daemon is needed.\n"}

DOCUMENTS = r""".SH DOCUMENTS
\fBapply\fR, \fBdelete\fR and \fBget\fR work on the registry: the source of nodeproxy.yaml, or \fB\-\-registry\fR. A kind in the
singular (get service shop/web) is a document there; get services, in the plural, is what the daemon serves.
.PP
Everything that is given is judged before anything is written, by the code that judges it in the daemon. One document that
is refused, as FILE:LINE: FIELD: REASON, stops all of it. Then each object is written for itself: \fIcreated\fR,
\fIconfigured\fR, \fIunchanged\fR (nothing is written), or \fIconflict\fR: somebody changed it after it was read, and theirs
stays. metadata.generation goes up by one with every change outside metadata; metadata.creationTimestamp is when the object
was first written here, and stays.
.PP
In a directory of files an object is changed where it is written, whatever stands around it; comments inside the document
itself are lost. A new one gets a file of its own, KIND.NAMESPACE.NAME.yaml. A file is replaced as a whole, by rename, with
its owner and mode; a program that is killed leaves the old one or the new one. Writers of nodeproxyctl wait for each other
(flock of the directory, 30 seconds); what an editor saves meanwhile is a conflict. An object that is written twice, or in a
document that cannot be read, is refused with its lines.
.PP
Then it waits for the daemon of this host and says what became of each object: \fIaccepted\fR, \fIgone\fR, the first condition
of its status that is False, or why it was refused; and for the workers to serve it. No daemon is needed: what is written is
read when one starts.
.PP
Of an etcd cluster (nodeproxy\-registry(7)) each object is a key, and is written by a transaction over what was read. A Service
without clusterIP is given an address of service_cidr that no other has. A host may not write resources, so say who asks:
\fB\-\-user\fR, \fB\-\-cert\fR, or \fB\-c\fR with a nodeproxy.yaml of your own. When the etcd does not answer within 5 seconds the
exit status is 3.
.PP
\fBstore check\fR and \fBstore export\fR read the state directory, also while the daemon runs: from a copy below TMPDIR, which is
one whole revision. They need the rights of root, or of the account nodeproxy\-sync.
"""


def ctl(commands, version, local):
    out = heading("nodeproxyctl", "1", version, "nodeproxy")
    out += (".SH NAME\nnodeproxyctl \\- look at and steer the nodeproxy of this host\n"
            ".SH SYNOPSIS\n.B nodeproxyctl\n[\\fB\\-s\\fR \\fISOCKET\\fR] [\\fB\\-o\\fR table|json|yaml] "
            "\\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n"
            ".SH DESCRIPTION\nAsks the running nodeproxy over its admin socket and prints the answer. Tables are for "
            "people: ages and bytes are rounded, columns may be added. JSON and YAML are for programs: exact numbers, "
            "fields are never renamed.\n.PP\n"
            "Documents are written by nodeproxyctl itself, with the rights of who runs it: the daemon has none to write to its "
            "registry. See DOCUMENTS.\n.SH COMMANDS\n")
    for c in commands + local:
        out += f".TP\n{usage(c)}\n{esc(c['help'][0].upper() + c['help'][1:])}.\n"
        for a in c["args"]:
            left = " ".join(x for x in (a["option"], a["value"]) if x)
            out += f".RS\n.TP\n.B {esc(left)}\n{esc(a['help'])}\n.RE\n"
        if c["permission"] == "NOBODY":
            out += WHO[c["program"]]
        elif c["permission"] != "LOOK":
            out += "Only by root.\n"
    out += (".SH OPTIONS\n.TP\n\\fB\\-s\\fR \\fISOCKET\\fR\nThe admin socket. Default: the environment variable "
            "\\fBNODEPROXY_SOCKET\\fR, else /run/nodeproxy/admin.sock.\n"
            ".TP\n\\fB\\-o\\fR \\fIFORMAT\\fR\ntable (default), json or yaml.\n"
            ".TP\n\\fB\\-n\\fR \\fINAMESPACE\\fR\nWhere a command lists or names something in a namespace.\n"
            ".TP\n\\fB\\-\\-help\\fR\nOf nodeproxyctl, or after a command, of that command.\n"
            ".TP\n\\fB\\-\\-version\\fR\nThe version of nodeproxyctl, without asking anybody.\n"
            "%(more)s" + DOCUMENTS +
            ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nrefused or not found; for \\fBcheck\\fR: an error was found\n"
            ".TP\n2\nusage\n.TP\n3\nthe daemon cannot be reached; for \\fBapply\\fR, \\fBdelete\\fR and \\fBget\\fR: the registry, or the daemon that "
            "\\fB\\-\\-wait\\fR asked for\n"
            ".SH ENVIRONMENT\n.TP\n.B NODEPROXY_SOCKET\nThe admin socket when \\fB\\-s\\fR is not given.\n"
            ".TP\n.B NODEPROXY_CONFIG\nThe bootstrap file that \\fBcheck\\fR looks at when there is no daemon, and that "
            "names registry and store when \\fB\\-c\\fR is not given; default: /etc/nodeproxy/nodeproxy.yaml.\n"
            ".SH EXAMPLES\n.nf\nnodeproxyctl status\nnodeproxyctl check\nnodeproxyctl get endpoints \\-n shop\n"
            "nodeproxyctl describe httproute shop/web \\-o json\nnodeproxyctl explain web.shop/cart\nnodeproxyctl explain \\-\\-from shop \\-H 'x\\-version: next' 'web.shop/cart?id=1'\nnodeproxyctl apply \\-f shop.yaml\nnodeproxyctl get httproute shop/web \\-o yaml\nnodeproxyctl store export >kept.yaml\nnodeproxyctl drain \\-\\-worker 1 \\-\\-deadline 10\n.fi\n"
            ".SH SEE ALSO\n.BR nodeproxy (8),\n.BR nodeproxy\\-api (7),\n.BR nodeproxy.yaml (5),\n"
            ".BR nodeproxy\\-resources (5),\n.BR nodeproxy\\-registry (7),\n.BR nodeproxy\\-metrics (7)\n")
    return out


def fields(path):
    """fields.def: {object: (help, [(key, type, help)])}; commands are objects by themselves."""
    out, text = {}, re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    for macro, rest in re.findall(r"^(OBJECT|FIELD)\((.*)\)$", text, re.M):
        cells = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        if macro == "OBJECT":
            out.setdefault(cells[0], [cells[1], []])[0] = cells[1]
        else:
            out.setdefault(cells[0], ["", []])[1].append(tuple(cells[1:]))
    return out


def type_words(kind):
    kind, null = kind.rstrip("?"), kind.endswith("?")
    plain = kind in ("text", "number", "real", "flag", "texts", "map", "any")
    out = {"texts": "list of texts", "numbers": "list of numbers", "map": "object of numbers"}.get(kind, kind)
    if kind.startswith("["):
        out = f"list of \\fI{esc(kind[1:-1])}\\fR"
    elif not plain:
        out = f"\\fI{esc(kind)}\\fR"
    return out + (", null or absent" if null else "")


def field_lines(rows_):
    out = ""
    for key, kind, words in rows_:
        name = kind.rstrip("?")
        left = f"\\fB{esc(key)}\\fR ({type_words(kind)})" if key else f"all fields of \\fI{esc(name)}\\fR"
        out += f".br\n{left}" + (f": {esc(words)}\n" if words else "\n")
    return out


def answer_of(c, objects):
    rows_ = objects.get(c["name"], ("", []))[1]
    if not rows_:
        return ""
    return ".RS\n.PP\nThe answer:\n" + field_lines(rows_) + ".RE\n"


def object_section(objects, commands):
    out = (".SH OBJECTS\nFields of the objects in answers. A number is whole and at least 0 unless it is called real; a flag is "
           "true or false. What may be null or absent is said.\n")
    for name, (words, rows_) in objects.items():
        if any(c["name"] == name for c in commands):
            continue
        out += f".SS {esc(name)}\n" + (esc(words[0].upper() + words[1:]) + ".\n" if words else "") + field_lines(rows_)
    return out


def api(commands, version, local):
    del local
    objects = fields(sys.argv[4])
    out = heading("nodeproxy-api", "7", version, "nodeproxy")
    out += (".SH NAME\nnodeproxy\\-api \\- HTTP and JSON on the admin socket and the metrics listener of nodeproxy\n"
            ".SH SYNOPSIS\n.nf\ncurl \\-\\-unix\\-socket /run/nodeproxy/admin.sock http://localhost/v1/status\n"
            "curl http://127.0.0.1:15020/metrics\n.fi\n"
            ".SH DESCRIPTION\nHTTP/1.1 with keep\\-alive and pipelining. A request head has at most 16 KiB, a body 64 KiB, and "
            "both must arrive within 10 seconds; at most 64 clients are served at a time. Every answer is one JSON object; "
            "fields may be added in later versions, none is renamed within /v1/. Keys say their unit: \\fI_bytes\\fR, "
            "\\fI_seconds\\fR, \\fI_ms\\fR, \\fI_ns\\fR, \\fI_unix_ms\\fR. Arguments are given in the query string or, with POST, as "
            "fields of a JSON object in the body; an unknown one is an error.\n.PP\n"
            "An error has a status of 400 or more and an object with \\fIerror\\fR (what is wrong) and, where known, "
            "\\fIwhere\\fR and \\fIdo\\fR (what to do about it). 503 means: not known yet, ask again.\n"
            ".SH PERMISSION\nThe kernel says who asks. uid 0 may do everything. The socket belongs to root (mode 0600), or with "
            "\\fIadmin.group\\fR to that group as well (0660); its members may LOOK.\n.SH REQUESTS\n")
    for c in commands:
        rest = {"describe": "KIND/NAMESPACE/NAME", "panic": "SERIAL"}.get(c["name"], "")
        path = esc(c["path"]) + (f"\\fI{rest}\\fR" if rest else "")
        out += f".TP\n\\fB{c['method']} {path}\\fR ({c['permission']})\n{esc(c['help'][0].upper() + c['help'][1:])}.\n"
        for a in c["args"]:
            if (rest and not a["option"]) or a["kind"].startswith("LOCAL"):
                continue
            out += f".RS\n.TP\n\\fI{esc(a['name'])}\\fR ({a['kind'].lower()})\n{esc(a['help'])}\n.RE\n"
        out += answer_of(c, objects)
    out += (".PP\nFor kinds that are in no namespace (Namespace, Tenant) the path is \\fIKIND/NAME\\fR; \\fISERIAL\\fR may be "
            "\\fBlatest\\fR.\n"
            "%(objects)s"
            ".SH METRICS LISTENER\nAt the address of \\fIadmin.metrics\\fR, for everybody who can connect to it; GET and HEAD.\n"
            ".TP\n.B /metrics\nPrometheus text format 0.0.4: nodeproxy\\-metrics(7).\n"
            ".TP\n.B /healthz/ready\n200 when as many workers as there should be serve a view; else 503 and why.\n"
            ".TP\n.B /healthz/live\n200 while the admin process answers.\n"
            ".SH SEE ALSO\n.BR nodeproxyctl (1),\n.BR nodeproxy\\-metrics (7),\n.BR nodeproxy (8),\n"
            ".BR nodeproxy.yaml (5)\n")
    return out.replace("%(objects)s", object_section(objects, commands))


BASH = """# SPDX-License-Identifier: Apache-2.0
# Copyright the nodeproxy authors
# bash completion for nodeproxyctl.  Made from admin/commands.def by man/from_commands.py.

# What the daemon knows, when it can be asked: the first, or namespace/name of, column.
_nodeproxyctl_ask() {
	nodeproxyctl ${_np_socket:+-s "$_np_socket"} $1 2>/dev/null |
		awk -v both="${2-}" 'NR > 1 && $1 ~ /^[a-z0-9]/ { print both ? $1 "/" $2 : $1 }' | sort -u
}

# namespace/name of routes of a kind.
_nodeproxyctl_routes() {
	nodeproxyctl ${_np_socket:+-s "$_np_socket"} get routes 2>/dev/null |
		awk -v kind="$1" 'NR > 1 && tolower($3) == kind { print $1 "/" $2 }' | sort -u
}

# Names of documents in the registry.
_nodeproxyctl_documents() {
	nodeproxyctl ${_np_socket:+-s "$_np_socket"} get "$1" 2>/dev/null |
		awk 'NR == 1 { both = $2 == "NAMESPACE" } NR > 1 { print both ? $2 "/" $3 : $2 }' | sort -u
}

# Values of an option or of the n-th word behind a command.
_nodeproxyctl_values() {
	case $1 in
	-o) echo table json yaml ;;
	-n | --from | NAMESPACE) _nodeproxyctl_ask "get namespaces" ;;
	--sort) echo %(sort)s ;;
	--method) echo GET HEAD POST PUT PATCH DELETE OPTIONS ;;
	"[tenants|"*) echo tenants services endpoints ;;
	--service) nodeproxyctl ${_np_socket:+-s "$_np_socket"} get services 2>/dev/null |
		awk 'NR > 1 { print $2 }' | sort -u ;;
	--worker) _nodeproxyctl_ask "get workers" ;;
	--key) echo p256 ed25519 ;;
	LEVEL) echo debug info warn error ;;
	KIND | "[KIND]") echo %(kinds)s ;;
	"[SERIAL]") _nodeproxyctl_ask "get panics" ;;
	"[NAMESPACE/]NAME") case ${2-} in
		namespace) _nodeproxyctl_ask "get namespaces" ;;
		tenant) _nodeproxyctl_ask "get tenants" ;;
		httproute | grpcroute | tlsroute | tcproute) _nodeproxyctl_routes "$2" ;;
		trafficpolicy | xbackendtrafficpolicy | ratelimitpolicy | backendtlspolicy) _nodeproxyctl_ask "get policies" both ;;
		*) _nodeproxyctl_ask "get services" both ;;
		esac ;;
	"[[NAMESPACE/]NAME]") _nodeproxyctl_documents "${2-}" ;;
	WHAT) echo %(debug)s ;;
	esac
}

_nodeproxyctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} _np_socket= words= rest= last=
	local i w row command options values reply=
	for ((i = 1; i < COMP_CWORD; i++)); do
		w=${COMP_WORDS[i]}
		case $w in
		-s) _np_socket=${COMP_WORDS[++i]} ;;
		-o | -n | -f | -c | --*) case " %(flags)s " in *" $w "*) ;; *) ((i++)) ;; esac ;;
		*) words+=${words:+ }$w ;;
		esac
	done
	# The longest command that these words begin with; what is behind it are its values.
	command=
	while IFS='|' read -r row options values; do
		case "$words " in
		"$row "*) [ ${#row} -gt ${#command} ] && command=$row && reply=$options && rest=$values ;;
		esac
	done <<<"$_nodeproxyctl_rows"
	case $prev in
	-s | -f | -c | --registry | --cert | --cert-key | --ca | --password-file | --dir | --out | --passphrase-file | --node-passphrase-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	%(valued)s) COMPREPLY=($(compgen -W "$(_nodeproxyctl_values "$prev")" -- "$cur")); return ;;
	esac
	if [ -z "$command" ]; then
		while IFS='|' read -r row options values; do
			[ -z "$words" ] && reply+=" ${row%%%% *}" && continue
			case "$row" in "$words "*) row=${row#"$words "} && reply+=" ${row%%%% *}" ;; esac
		done <<<"$_nodeproxyctl_rows"
		COMPREPLY=($(compgen -W "$reply -s -o --help --version" -- "$cur"))
		return
	fi
	if [[ $cur != -* ]]; then
		words=${words#"$command"} last=${words##* }
		set -- $words
		for ((i = $#; i > 0; i--)); do rest=${rest#* }; done
		reply="$(_nodeproxyctl_values "${rest%%%% *}" "$last") $reply"
		[ -z "$words" ] && while IFS='|' read -r row options values; do	# of longer commands
			case "$row" in "$command "*) row=${row#"$command "} && reply+=" ${row%%%% *}" ;; esac
		done <<<"$_nodeproxyctl_rows"
	fi
	COMPREPLY=($(compgen -W "$reply -s -o --help" -- "$cur"))
}

_nodeproxyctl_rows='%(rows)s'
complete -F _nodeproxyctl nodeproxyctl
"""


def bash(commands, version, local):
    del version
    lines, valued, flags, said = [], {"-o", "-n"}, {"--help", "--version"}, {}
    for c in commands + local:
        options = [a["option"] for a in c["args"] if a["option"] not in ("", "-s", "-o")]
        values = [a["value"].split()[0] for a in c["args"] if not a["option"]]
        for a in c["args"]:
            if a["option"] and a["option"] != "-s":
                (flags if a["kind"].endswith("FLAG") else valued).add(a["option"])
            # "a, b or c" in the help of these lists all there are
            said.setdefault(a["value"], " ".join(re.findall(r"[a-z]+(?:-[a-z]+)*", a["help"].replace(" or ", " "))))
        lines.append("|".join((c["words"], " ".join(options), " ".join(values) + " ")))
    headings = next(c["headings"] for c in commands if c["name"] == "top")
    return BASH % {"sort": " ".join(h.lower() for h in headings), "rows": "\n".join(lines), "valued": " | ".join(sorted(valued)), "flags": " ".join(sorted(flags)),
                   "debug": said["WHAT"], "kinds": said["KIND"]}


PAGES = {"nodeproxyctl.1": ctl, "nodeproxy-api.7": api, "nodeproxyctl.bash": bash}


def main():
    source, version, page = sys.argv[1:4]
    commands, local = {}, {}
    for macro, a in rows(open(source, encoding="utf-8").read()):
        if macro == "CMD":
            commands[a[0]] = dict(zip(("name", "words", "method", "path", "permission", "answers", "list", "help"), a),
                                  args=[], headings=[])
        elif macro == "LOCAL":
            local[a[0]] = dict(zip(("name", "words", "program", "help"), a), permission="NOBODY", args=[])
        elif macro == "LARG":
            local[a[0]]["args"].append(dict(zip(("cmd", "option", "value", "help"), a), kind="TEXT" if a[2] else "FLAG"))
        elif macro == "ARG":
            commands[a[0]]["args"].append(dict(zip(("cmd", "name", "kind", "option", "value", "help"), a)))
        else:
            commands[a[0]]["headings"].append(a[1])
    for c in [*commands.values(), *local.values()]:
        if not c["help"] or not c["permission"]:
            sys.exit(f"{source}: {c['name']}: no help or no permission")
    text = PAGES[page](list(commands.values()), version, list(local.values()))
    if page == "nodeproxyctl.1":
        text = text.replace("%(more)s", "".join((misbehaviour if p.endswith("debug.def") else findings)(p) for p in sys.argv[4:]))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
