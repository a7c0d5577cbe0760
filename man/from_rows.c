/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Writes nodeproxy.yaml(5) and nodeproxy-resources(5) from the rows that the programs use, so that
 * the pages cannot say anything else: `from_rows yaml|resources` to standard output, as mdoc. */
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/doc/doc.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "store/resource/schema.h"

/* Text of a row as text of the page. */
static void text(const char *s)
{
	bool start = true;

	for (; *s; s++) {
		if (start && (*s == '.' || *s == '\''))
			fputs("\\&", stdout);
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
		start = *s == '\n';
	}
}

/* As an argument of a macro; nothing in it is taken for another macro. */
static void literal(const char *s)
{
	putchar('"');
	if (strlen(s) <= 3)
		fputs("\\&", stdout);
	for (; *s; s++) {
		if (*s == '"')
			fputs("\\(dq", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
	}
	putchar('"');
}

/* A help text as a sentence, with a capital unless it starts with a value of the field. */
static void sentence(const char *s, bool capital)
{
	size_t n = strlen(s), word = strcspn(s, " ");
	char first[2] = { s[0], 0 };

	if (capital && s[0] >= 'a' && s[0] <= 'z' && word && s[word - 1] != ':' &&
	    s[word + (s[word] != 0)] != '(') {
		first[0] = (char)(s[0] - 32);
		fputs(first, stdout);
		text(s + 1);
	} else {
		text(s);
	}
	puts(n && s[n - 1] == '.' ? "" : ".");
}

/* The list of words, and what ends it on the same line (" ." or ""). */
static void words(const char *values, const char *end)
{
	for (const char *v = values; *v;) {
		int n = (int)strcspn(v, "|");
		char one[64];

		snprintf(one, sizeof one, "%.*s", n, v);
		fputs(".Cm ", stdout);
		literal(one);
		v += n + (v[n] == '|');
		puts(*v ? " ," : end);
	}
}

/* Labels of a Namespace. */
static void modes(void)
{
	const char *value;

	for (unsigned m = 0; m < NS_MODES; m++) {
		enum ns_mode mode = (enum ns_mode)m;

		fputs(".It Cm metadata.labels[" NS_MODES_PREFIX, stdout);
		text(ns_mode_label(mode));
		puts("]");
		sentence(ns_mode_help(mode), true);
		puts(".Bl -tag -width Ds -compact");
		for (unsigned i = 0; (value = ns_mode_text(mode, i)); i++) {
			fputs(".It Cm ", stdout);
			literal(value);
			puts(i ? "" : "\nThe default:");
			sentence(ns_mode_value_help(mode, i), false);
		}
		puts(".El");
		if (ns_mode_is_of_pods(mode))
			puts("A label of the same key on a pod overrules it for that pod.");
	}
	puts(".It Cm metadata.labels[nodeproxy.io/mtls]\n"
	     ".Em Refused , not supported by this release.");
}

static void head(const char *title, const char *name, const char *what)
{
	printf(".\\\" SPDX-License-Identifier: Apache-2.0\n"
	       ".\\\" Copyright the nodeproxy authors\n"
	       ".\\\" Made by man/from_rows.c: change the tables, not this page.\n"
	       ".Dd November 22, 2026\n.Dt %s 5\n.Os nodeproxy\n.Sh NAME\n.Nm %s\n.Nd %s\n",
	       title, name, what);
}

/* ---- nodeproxy.yaml(5) ---- */

static void knob(const struct knob_row *r)
{
	fputs(".It Cm ", stdout);
	literal(r->key);
	putchar('\n');
	sentence(r->help, true);
	if (strcmp(r->type, "number") == 0) {
		printf("A whole number from %lld to %lld (%s).\n", (long long)r->min, (long long)r->max,
		       r->unit);
		printf("The default is %s.\n", r->def);
	} else if (r->values[0]) {
		puts("One of");
		words(r->values, "");
		fputs("(the default is ", stdout);
		text(r->def);
		puts(").");
	} else if (r->required) {
		puts("Required.");
	} else if (r->def[0]) {
		fputs("The default is ", stdout);
		text(r->def);
		puts(".");
	}
	if (r->reload == RELOAD_WORKERS)
		puts("A reload that changes it replaces the workers.");
	else if (r->reload == RELOAD_RESTART)
		puts("Changing it needs a restart.");
}

static void yaml_page(void)
{
	struct knob_row r;

	head("NODEPROXY.YAML", "nodeproxy.yaml", "settings of nodeproxy");
	puts(".Sh DESCRIPTION\n"
	     "The settings of one\n.Xr nodeproxy 8 ,\nread when it starts and by\n"
	     ".Ql nodeproxyctl reload ;\nthe file is\n"
	     ".Pa /etc/nodeproxy/nodeproxy.yaml\nor what the option\n.Fl c\nnames.\n"
	     "It is one YAML document.\n"
	     "Every key is optional unless it says otherwise.\n"
	     "An unknown key, a value out of its bounds, an anchor, alias or tag, and a key that is there\n"
	     "twice are errors, reported as\n.Dq file:line: key: what is wrong and what is allowed ;\n"
	     ".Ql nodeproxy -t\nchecks a file and does nothing else.\n.Pp\n"
	     "A key written as\n.Cm a.b\nbelow is the key\n.Cm b\nin the mapping\n.Cm a .\n"
	     "Numbers of bytes may have one of the suffixes Ki, Mi and Gi, times one of ms, s, m and h.");
	puts(".Sh CHANGES WHILE IT RUNS\n"
	     ".Ql nodeproxyctl reload\n"
	     "reads the file again.\n"
	     "Every process checks whether it could use all of it; when one cannot, or the file is wrong,\n"
	     "nothing changes and the answer says why.\n"
	     "Then all processes take the new settings over in place: connections go on, a time or limit\n"
	     "counts from the next time that it is looked at.\n"
	     "What a changed key needs beyond that is said with the key.\n.Pp\n"
	     "A listener is known by its address.\n"
	     "One that was removed serves whoever has connected until then; its connections finish as in a\n"
	     "drain, at\n.Cm timeouts.drain\nat the latest, with the reason LISTENER_GONE.\n"
	     "So do connections of one whose\n.Cm namespace\nor\n.Cm route\nchanged; another\n"
	     ".Cm service\nis taken for their next request.");
	puts(".Sh KEYS\n.Bl -tag -width Ds");
	for (unsigned i = 0; knobs_row(i, &r); i++)
		if (!r.of_listener)
			knob(&r);
	puts(".El\n.Sh LISTENERS\n.Cm listeners\n"
	     "is a list of addresses for callers that are not captured pods.");
	printf("There may be %d of them.\nKeys of an entry:\n.Bl -tag -width Ds\n", KNOBS_LISTENERS);
	for (unsigned i = 0; knobs_row(i, &r); i++)
		if (r.of_listener)
			knob(&r);
	puts(".El\n.Sh LINES THAT ARE ADDED\n"
	     "Hop-by-hop lines end at every proxy; framing, Host and Connection lines are always written\n"
	     "anew.\nAll others go on as they came, but for these.\n"
	     ".Bl -tag -width Ds\n"
	     ".It X-Forwarded-For , X-Forwarded-Proto , X-Forwarded-Host , Forwarded\n"
	     "With\n.Cm forwarded : append\nof the listener, the caller's address is written behind what\n"
	     "it sent as X-Forwarded-For, which is made where there is none; X-Forwarded-Proto (http) is\n"
	     "made where there is none, X-Forwarded-Host goes on, and where the caller sent Forwarded\n"
	     "(RFC 7239), our element\n.Ql for=ADDRESS;proto=http\nis written behind it.\n"
	     "With\n.Cm forwarded : replace\nall four are dropped, and ours are written: the caller's\n"
	     "address, http, the host that it asked for, and our element alone.\n"
	     "A value that is empty, or whose quotes are not closed, is left out of a list that we add to.\n"
	     "Append for callers that are proxies of yours; replace for all whose word is not to be\n"
	     "believed.\n"
	     ".It Via\nGoes on; with\n.Cm headers.via : on ,\n"
	     ".Ql 1.1 nodeproxy\nis written behind it in requests and responses (1.0 when that is what\n"
	     "came).\n"
	     "RFC 9110 (section 7.6.3) wants it of every proxy; it is off because nginx, as an endpoint,\n"
	     "does not compress for who comes through a proxy.\n"
	     ".It Date\nFinal responses without one get it, and so do answers of nodeproxy itself.\n"
	     ".It X-Request-Id\nGoes on when there is one, and it is 1 to 128 bytes of visible ASCII; else a\n"
	     "random UUID (version 4) takes its place, unless\n.Cm headers.request_id : pass .\n"
	     "The access log has it as\n.Ql request_id ,\nof refused requests too where it was valid and\n"
	     "had been read.\n"
	     "Responses have it only when the endpoint sends it.\n"
	     ".It traceparent , tracestate\nGo on unchanged when there is exactly one traceparent and it is\n"
	     "valid (W3C Trace Context); else both are dropped, and a new traceparent is made, not\n"
	     "sampled, unless\n.Cm headers.traceparent : pass .\n"
	     "When the request has neither id, both are made of the same 128 bits.\n"
	     ".El\n"
	     "A Connection line of the caller cannot take any of them away.\n"
	     "What filters of a route do to these lines is done first, as if the caller (in responses: the\n"
	     "endpoint) had written it so.\n"
	     ".Sh LIMITS\n"
	     "Each limit that is passed has its reason, in the access log, the metrics and, where HTTP is\n"
	     "spoken and no answer has begun, the line x-nodeproxy-reason of the answer.\n"
	     "What breaks the grammar is 400 (501 for transfer codings, 505 for versions, 417 for\n"
	     "expectations); a target that is too long is 414, a head that is too large or has too many\n"
	     "lines 431, a body 413; who sends a head or body too slowly gets 408; quotas are 503.\n"
	     "After all but the last the connection closes.\n.Pp\n"
	     ".Cm limits.body_rate\nis asked while nothing but the caller is waited for: not while it waits\n"
	     "for 100 (Continue), while the endpoint does not read or has begun to answer, or while memory\n"
	     "is short.\n"
	     "Programs that upload in small pieces at long intervals before they expect an answer need\n"
	     "it lower, or 0.\n.Pp\n"
	     "Quotas (connections, requests, memory) count per worker, so a host has as many times of them\n"
	     "as workers.\n"
	     "A request is under way from its head to the last byte of its answer; an opaque connection, or\n"
	     "an upgraded one, counts as one request as long as it lives.\n"
	     "The quota of a listener is asked first, then that of its tenant.");
	puts(".Sh EXAMPLES\n.Bd -literal -offset indent\n"
	     "node: host\\-a\n"
	     "workers: cpus=0,2\\-5\n"
	     "source:\n"
	     "  kind: file\n"
	     "  path: /etc/nodeproxy/resources.d\n"
	     "limits:\n"
	     "  worker_memory: 512Mi\n"
	     "listeners:\n"
	     "\\- name: front\n"
	     "  bind: 127.0.0.1:8080\n"
	     "  namespace: shop\n"
	     "  service: shop/web:80\n"
	     ".Ed\n"
	     ".Sh SEE ALSO\n.Xr nodeproxyctl 1 ,\n.Xr nodeproxy\\-resources 5 ,\n.Xr nodeproxy 8\n"
	     ".Pp\n.Ql nodeproxyctl get config\nshows the settings in use.");
}

/* ---- nodeproxy-resources(5) ---- */

static void bounds(const struct schema_field *f)
{
	switch (f->type) {
	case SCHEMA_NUMBER:
		if (f->max == INT64_MAX)
			printf("A whole number, at least %lld.\n", (long long)f->min);
		else
			printf("A whole number from %lld to %lld.\n", (long long)f->min,
			       (long long)f->max);
		break;
	case SCHEMA_QUANTITY:
		printf("A quantity (k, M, G, T, Ki, Mi, Gi, Ti) from %lld to %lld bytes.\n",
		       (long long)f->min, (long long)f->max);
		break;
	case SCHEMA_DURATION: {
		char least[SCHEMA_DURATION_TEXT], most[SCHEMA_DURATION_TEXT];

		printf("A duration (h, m, s, ms) from %s to %s.\n",
		       schema_duration_text((uint32_t)f->min, least),
		       schema_duration_text((uint32_t)f->max, most));
		break;
	}
	case SCHEMA_CHOICE:
		puts(strchr(f->values, '|') ? "One of" : "Only");
		words(f->values, strchr(f->values, '|') ? " ." : "");
		if (strchr(f->values, '|') == NULL)
			puts("is served.");
		if (f->later) {
			puts(".Em Refused , not supported by this release:");
			words(f->later, " .");
		}
		break;
	case SCHEMA_TIME:
		puts("A time as in RFC 3339.");
		break;
	case SCHEMA_NUMBERS:
		printf("A list of whole numbers from %lld to %lld.\n", (long long)f->min, (long long)f->max);
		break;
	case SCHEMA_CHOICES:
		puts("A list of");
		words(f->values, " .");
		break;
	case SCHEMA_FLAG:
		puts("true or false.");
		break;
	case SCHEMA_OBJS:
	case SCHEMA_TEXTS:
		if (f->min)
			printf("A list of %lld to %lld entries.\n", (long long)f->min, (long long)f->max);
		else
			printf("A list of at most %lld entries.\n", (long long)f->max);
		break;
	default:
		break;
	}
}

static void field(const struct schema_field *f, const char *path)
{
	fputs(".It Cm ", stdout);
	literal(path);
	putchar('\n');
	switch (f->word) {
	case SCHEMA_SERVED:
		if (f->required)
			puts("Required.");
		break;
	case SCHEMA_INERT:
		puts(".Em Accepted, no effect :");
		break;
	case SCHEMA_DROPPED:
		puts(".Em Accepted, not kept :");
		break;
	case SCHEMA_REFUSED:
		puts(".Em Refused , not supported by this release:");
		break;
	}
	if (f->help[0])
		sentence(f->help, f->word == SCHEMA_SERVED);
	if (f->word == SCHEMA_SERVED)
		bounds(f);
}

/* As deep as the rows are. */
static void fields(enum schema_object o, const char *prefix)
{
	const struct schema_field *f;
	char path[256];

	for (unsigned i = 0; (f = schema_field_of(o, i)); i++) {
		bool top = prefix[0] == 0 && (strcmp(f->name, "apiVersion") == 0 ||
					      strcmp(f->name, "kind") == 0 ||
					      strcmp(f->name, "metadata") == 0 ||
					      strcmp(f->name, "status") == 0);

		if (top)
			continue;
		snprintf(path, sizeof path, "%s%s%s%s", prefix, prefix[0] ? "." : "", f->name,
			 f->type == SCHEMA_OBJS || f->type == SCHEMA_TEXTS ||
						 f->type == SCHEMA_NUMBERS ||
						 f->type == SCHEMA_CHOICES ?
					 "[]" : "");
		if (f->help[0])
			field(f, path);
		if (f->of != SCHEMA_NO_OBJECT)
			fields(f->of, path);
	}
}

static void resources_page(void)
{
	const struct schema_kind *k;

	head("NODEPROXY-RESOURCES", "nodeproxy-resources", "what nodeproxy is told to do");
	puts(".Sh DESCRIPTION\n"
	     "Services, endpoints, routes and tenants are Kubernetes objects, also where there is no\n"
	     "Kubernetes: YAML documents in the files of a directory\n"
	     ".Pq Cm source.path No in Xr nodeproxy.yaml 5 ,\n"
	     "any number of documents in a file, with\n.Ql \\-\\-\\-\nlines between them.\n"
	     "Files are read again when they change.\n"
	     ".Pp\n"
	     "Each document is accepted or refused as a whole, and on its own: a bad one never blocks\n"
	     "another.\n"
	     "Whatever a document says that this release would not do is refused by name, never ignored;\n"
	     "a refused document leaves the last good version of its object serving, and is shown with\n"
	     "file, line, field and reason by\n.Ql nodeproxyctl get sources .\n"
	     ".Pp\n"
	     "Refused are also unknown fields, keys that are there twice, anchors, aliases, tags and merge\n"
	     "keys, text where a number is wanted and a number where text is wanted (put it in quotes).");
	printf("A document has at most %u bytes, %u values and %d levels, a file at most %u bytes.\n",
	       DOC_BYTES_MAX, DOC_NODES_MAX, DOC_DEPTH_MAX, DOC_FILE_MAX);
	puts("A field whose value is null counts as absent, a refused field that is an empty list or\n"
	     "mapping too.\n"
	     "A\n.Cm kind: List\nis not served: its items must be documents.\n"
	     ".Sh METADATA\n"
	     "Of every kind:\n.Bl -tag -width Ds");
	fields(SCHEMA_metadata, "metadata");
	puts(".It Cm status\n.Em Accepted, not kept :\n"
	     "what others observed; conditions are shown by\n.Ql nodeproxyctl describe .\n.El");
	for (unsigned i = 0; (k = schema_kind_at(i)); i++) {
		fputs(".Sh ", stdout);
		for (const char *c = k->kind; *c; c++)
			putchar(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
		putchar('\n');
		puts(".Cm apiVersion :");
		words(k->versions, " .");
		puts(".Pp");
		sentence(k->help, true);
		puts(".Bl -tag -width Ds");
		fields(k->object, "");
		if (k->row == ROW_NAMESPACE)
			modes();
		if (k->row == ROW_SLICE)
			puts(".It Cm metadata.labels[kubernetes.io/service\\-name]\nRequired.\n"
			     "The Service whose endpoints these are.\n"
			     ".It Cm metadata.annotations[nodeproxy.io/weight]\n"
			     "Weight of each of these endpoints against those of other slices of the Service,\n"
			     "a whole number from 1 to 1000, in quotes; default 100.\n"
			     "RoundRobin: of twice the weight, twice the turns.\n"
			     "LeastRequest: drawn by weight, and what is in flight counts in proportion to it.\n"
			     "PeakEWMA: the same while response times are within a factor of two, else the one that\n"
			     "is likely to be done first.\n"
			     "Maglev: of twice the weight, twice the slots.\n"
			     ".It Cm metadata.annotations[nodeproxy.io/priority]\n"
			     "Priority of each of these endpoints, a whole number from 0, the best and the\n"
			     "default, to 3, in quotes.\n"
			     "Those of a worse priority get what the better ones have no health for:\n"
			     "see overprovisioningPercent of a TrafficPolicy.");
		puts(".El");
	}
	puts(".Sh EXAMPLES\n"
	     "Two documents are enough to proxy something:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: v1\n"
	     "kind: Service\n"
	     "metadata: {name: web, namespace: shop}\n"
	     "spec:\n"
	     "  ports: [{name: http, port: 80}]\n"
	     "\\-\\-\\-\n"
	     "apiVersion: discovery.k8s.io/v1\n"
	     "kind: EndpointSlice\n"
	     "metadata:\n"
	     "  name: web\\-1\n"
	     "  namespace: shop\n"
	     "  labels: {kubernetes.io/service\\-name: web}\n"
	     "addressType: IPv4\n"
	     "ports: [{name: http, port: 9000}]\n"
	     "endpoints:\n"
	     "\\- addresses: [10.0.0.11]\n"
	     "\\- addresses: [10.0.0.12]\n"
	     ".Ed\n"
	     ".Pp\n"
	     "A tenth of the requests below /cart go to a new version:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: gateway.networking.k8s.io/v1\n"
	     "kind: HTTPRoute\n"
	     "metadata: {name: cart, namespace: shop}\n"
	     "spec:\n"
	     "  parentRefs: [{group: \"\", kind: Service, name: web}]\n"
	     "  rules:\n"
	     "  \\- matches: [{path: {type: PathPrefix, value: /cart}}]\n"
	     "    backendRefs:\n"
	     "    \\- {name: cart, port: 80, weight: 9}\n"
	     "    \\- {name: cart\\-next, port: 80, weight: 1}\n"
	     "  \\- backendRefs: [{name: web, port: 80}]\n"
	     ".Ed\n"
	     ".Pp\n"
	     "Callers of the namespace lab, and nobody else, get the new version when they ask for it:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: gateway.networking.k8s.io/v1\n"
	     "kind: HTTPRoute\n"
	     "metadata: {name: try, namespace: lab}\n"
	     "spec:\n"
	     "  parentRefs: [{group: \"\", kind: Service, name: web, namespace: shop}]\n"
	     "  rules:\n"
	     "  \\- matches: [{headers: [{name: x\\-version, value: next}]}]\n"
	     "    backendRefs: [{name: web\\-next, namespace: shop, port: 80}]\n"
	     "  \\- backendRefs: [{name: web, namespace: shop, port: 80}]\n"
	     ".Ed\n"
	     ".Pp\n"
	     "Two namespaces share one portion of the workers, twice as large as that of others:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: nodeproxy.io/v1alpha1\n"
	     "kind: Tenant\n"
	     "metadata: {name: shop}\n"
	     "spec:\n"
	     "  namespaces: [shop, shop\\-batch]\n"
	     "  weight: 2\n"
	     "  quotas: {memory: 128Mi, connections: 10000}\n"
	     ".Ed\n"
	     ".Pp\n"
	     "Requests in turn, answers within 15 seconds, and no more than the endpoints can bear:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: nodeproxy.io/v1alpha1\n"
	     "kind: TrafficPolicy\n"
	     "metadata: {name: web, namespace: shop}\n"
	     "spec:\n"
	     "  targetRefs: [{group: \"\", kind: Service, name: web}]\n"
	     "  loadBalancer: {type: RoundRobin}\n"
	     "  timeouts: {connect: 500ms, response: 15s}\n"
	     "  limits: {connections: 100, requests: 500}\n"
	     "  ejection: {consecutiveFailures: 3}\n"
	     ".Ed\n"
	     ".Pp\n"
	     "The same endpoint for the same user, in this host's zone while that is well; and endpoints\n"
	     "that fail more often than the others are left out:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: nodeproxy.io/v1alpha1\n"
	     "kind: TrafficPolicy\n"
	     "metadata: {name: cart, namespace: shop}\n"
	     "spec:\n"
	     "  targetRefs: [{group: \"\", kind: Service, name: cart}]\n"
	     "  loadBalancer: {type: Maglev, hash: {type: Cookie, name: user}, preferSameZone: true}\n"
	     "  ejection: {successRate: {interval: 30s}}\n"
	     ".Ed\n"
	     ".Pp\n"
	     "No caller gets more than 50 requests a second, and all together no more than 1000 a minute:\n"
	     ".Bd -literal -offset indent\n"
	     "apiVersion: nodeproxy.io/v1alpha1\n"
	     "kind: RateLimitPolicy\n"
	     "metadata: {name: web, namespace: shop}\n"
	     "spec:\n"
	     "  targetRefs: [{group: \"\", kind: Service, name: web}]\n"
	     "  identity: {key: Namespace, requests: 50, burst: 100}\n"
	     "  total: {requests: 1000, interval: 1m}\n"
	     ".Ed\n"
	     ".Sh DIAGNOSTICS\n"
	     ".Bd -literal -offset indent\n"
	     "web.yaml:7: spec.port: unknown field (did you mean ports?)\n"
	     "cart.yaml:12: spec.rules[0].filters[0].requestHeaderModifier.set[0].name: the host is changed by a URLRewrite filter, not as a header\n"
	     ".Ed\n"
	     ".Sh SEE ALSO\n.Xr nodeproxyctl 1 ,\n.Xr nodeproxy.yaml 5 ,\n.Xr nodeproxy 8");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "yaml") == 0)
		yaml_page();
	else if (argc == 2 && strcmp(argv[1], "resources") == 0)
		resources_page();
	else
		return 2;
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
