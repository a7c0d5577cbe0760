/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See dump.h. */
#include "store/view/dump.h"

#include "nodeproxy/lib/base/strbuf.h"

#define LINE_ROOM 16384 /* a path of 1,024 bytes, quoted, four times over */

struct dump {
	void (*say)(void *arg, const char *p, size_t n);
	void *arg;
	char room[LINE_ROOM];
};

static struct strbuf line(struct dump *d)
{
	return strbuf_on(d->room, sizeof d->room - 1);
}

static void end(struct dump *d, struct strbuf *s)
{
	s->p[s->n] = '\n';
	d->say(d->arg, s->p, s->n + 1);
}

static void add_name(struct strbuf *s, const char *before, struct slice name)
{
	strbuf_adds(s, before);
	strbuf_quoted(s, name, 253);
}

static void add_slot(struct strbuf *s, struct slot_gen g)
{
	strbuf_printf(s, " slot=%u/%u", g.slot, g.gen);
}

static const char *protocol(enum app_protocol p)
{
	static const char *const name[] = { "auto", "http", "tcp", "h2" };

	return (unsigned)p < countof(name) ? name[p] : "?";
}

static void dump_endpoint(struct dump *d, const struct vport *p, uint32_t i,
			  const struct vendpoint *e)
{
	struct strbuf s = line(d);
	char text[ADDR_TEXT];

	strbuf_printf(&s, "    endpoint %s%s%s%s", addr_text(&e->addr, true, text),
		      e->ready ? " ready" : "", e->serving ? " serving" : "",
		      e->terminating ? " terminating" : "");
	add_slot(&s, e->slot);
	if (p->weighted)
		strbuf_printf(&s, " weight=%u", vport_weight(p, i));
	if (e->zone.n)
		add_name(&s, " zone=", e->zone);
	if (e->node.n)
		add_name(&s, " node=", e->node);
	if (e->host.n)
		add_name(&s, " host=", e->host);
	end(d, &s);
}

static void dump_filters(struct dump *d, const struct vrule *r, const struct vfilters *all,
			 const char *indent)
{
	struct vfilter f;
	char words[2048];

	for (uint32_t i = 0; vfilter_at(&r->port.service, all, i, &f); i++) {
		struct strbuf s = line(d);

		vfilter_words(&f, words, sizeof words);
		strbuf_printf(&s, "%sfilter %s ", indent, filter_name(f.kind));
		strbuf_quoted(&s, slice_str(words), sizeof words);
		end(d, &s);
	}
}

/* Of a rule, else of the policy of a port. */
static void dump_times(struct dump *d, const struct vrule *r, const struct vport *p)
{
	struct strbuf s;
	struct vtimes t;
	char words[640];

	vtimes_of(r, p, &t);
	vtimes_words(&t, words, sizeof words);
	if (words[0] == 0)
		return;
	s = line(d);
	strbuf_printf(&s, "      times %s", words);
	end(d, &s);
}

static void dump_rule(struct dump *d, const struct vrule *r)
{
	struct strbuf s = line(d);
	char words[2048];
	struct vbackend b;

	vrule_words(r, words, sizeof words);
	strbuf_adds(&s, "    rule ");
	strbuf_quoted(&s, slice_str(words), sizeof words);
	add_name(&s, " route=", r->route_ns);
	add_name(&s, "/", r->route_name);
	if (r->rule_name.n)
		add_name(&s, " name=", r->rule_name);
	if (r->kind != ROUTE_HTTP)
		strbuf_printf(&s, " kind=%s", route_kind_name(r->kind));
	if (r->callers.n)
		add_name(&s, " callers=", r->callers);
	strbuf_printf(&s, " weight=%u", r->total_weight);
	end(d, &s);
	dump_filters(d, r, &r->filters, "      ");
	struct vport own = r->port;

	own.has_policy = false;
	dump_times(d, r, &own);
	for (uint32_t i = 0; vrule_backend_at(r, i, &b); i++) {
		s = line(d);
		add_name(&s, "      backend ", b.ns);
		add_name(&s, "/", b.name);
		strbuf_printf(&s, ":%u weight=%u%s", b.number, b.weight, b.valid ? "" : " invalid");
		end(d, &s);
		dump_filters(d, r, &b.filters, "        ");
	}
}

static void dump_policy(struct dump *d, const struct vport *p)
{
	struct strbuf s = line(d);
	struct vpolicy v;
	struct vcheck c;

	if (!vport_policy(p, &v))
		return;
	add_name(&s, "    policy ", v.name);
	strbuf_printf(&s, " balancer=%s connect=%u response=%u stall=%u tcp_idle=%u",
		      balancer_name(v.balancer), v.connect_ms, v.response_ms, v.stall_ms,
		      v.tcp_idle_ms);
	strbuf_printf(&s, " connections=%u requests=%u", v.connections, v.requests);
	if (v.pending)
		strbuf_printf(&s, " pending=%u/%u", v.pending, v.pending_ms);
	if (v.connections || v.requests)
		add_slot(&s, v.limit);
	if (v.hash_by) {
		strbuf_printf(&s, " hash=%s", hash_by_name(v.hash_by));
		add_name(&s, "/", v.hash_name);
	}
	if (v.balancing.slow_ms)
		strbuf_printf(&s, " slow=%u aggression=%u min=%u", v.balancing.slow_ms,
			      v.balancing.slow_aggression_percent, v.balancing.slow_min_percent);
	strbuf_printf(&s, " prefer_zone=%u overprovision=%u panic=%u", v.prefer_zone,
		      v.balancing.overprovision_percent, v.balancing.panic_percent);
	strbuf_printf(&s, " failures=%u base=%u max=%u percent=%u jitter=%u", v.ejection.failures,
		      v.ejection.base_ms, v.ejection.max_ms, v.ejection.percent,
		      v.ejection.jitter_percent);
	if (v.ejection.rate_interval_ms)
		strbuf_printf(&s, " rate=%u/%u/%u/%u", v.ejection.rate_interval_ms,
			      v.ejection.rate_endpoints, v.ejection.rate_requests,
			      v.ejection.rate_deviation);
	if (v.delay_ms)
		strbuf_printf(&s, " delay=%u/%u%%", v.delay_ms, v.delay_percent);
	if (v.abort_status)
		strbuf_printf(&s, " abort=%u/%u%%", v.abort_status, v.abort_percent);
	if (vport_check(p, &c)) {
		strbuf_printf(&s, " check=%s", c.type == CHECK_HTTP ? "HTTP" : "TCP");
		add_name(&s, " path=", c.path);
		strbuf_printf(&s, " interval=%u timeout=%u healthy=%u unhealthy=%u", c.interval_ms,
			      c.timeout_ms, c.healthy, c.unhealthy);
		for (unsigned i = 0; i < c.n_statuses && i < VCHECK_STATUSES; i++)
			strbuf_printf(&s, " %u-%u", c.status[i].from, c.status[i].to);
	}
	end(d, &s);
	dump_times(d, NULL, p);
}

static void add_pace(struct strbuf *s, const char *name, const struct vpace *p)
{
	if (p->requests)
		strbuf_printf(s, " %s=%u/%u/%u", name, p->requests, p->interval_ms, p->burst);
}

static void dump_rate(struct dump *d, const struct vport *p)
{
	struct strbuf s = line(d);
	struct vrate v;

	if (!vport_rate(p, &v))
		return;
	add_name(&s, "    rate ", v.name);
	strbuf_printf(&s, " key=%s", rate_key_name(v.key));
	add_pace(&s, "identity", &v.identity);
	add_pace(&s, "total", &v.total);
	add_slot(&s, v.slot);
	end(d, &s);
}

static void dump_tls(struct dump *d, const struct vport *p)
{
	struct strbuf s = line(d);
	struct vtls v;

	if (!vport_tls(p, &v))
		return;
	add_name(&s, "    tls ", v.name);
	add_name(&s, " host=", v.host);
	strbuf_printf(&s, " cas=%u%s", v.cas, v.trusts_host ? " system" : "");
	for (uint32_t i = 0; i < v.names; i++) {
		bool is_uri;
		struct slice name = vport_tls_name(p, i, &is_uri);

		add_name(&s, is_uri ? " uri=" : " name=", name);
	}
	end(d, &s);
}

static void dump_port(struct dump *d, const struct vport *p)
{
	struct strbuf s = line(d);
	struct vendpoint e;
	struct vlevel l;
	struct vrule r;

	strbuf_printf(&s, "  port %u %s", p->port, protocol(p->protocol));
	if (vport_name(p).n)
		add_name(&s, " name=", vport_name(p));
	strbuf_printf(&s, " endpoints=%u ready=%u%s", p->endpoints, vport_ready(p),
		      p->has_routes ? " routed" : "");
	end(d, &s);
	dump_policy(d, p);
	dump_rate(d, p);
	dump_tls(d, p);
	for (uint32_t i = 0; vport_rule_at(p, i, &r); i++)
		dump_rule(d, &r);
	for (uint32_t i = 0; vport_level(p, i, &l); i++) {
		s = line(d);
		strbuf_printf(&s, "    level priority=%u%s ready=%u of %u slots=%u", l.priority,
			      l.far ? " far" : "", l.ready, l.total, l.slots);
		end(d, &s);
	}
	for (uint32_t i = 0; vport_endpoint(p, i, &e); i++)
		dump_endpoint(d, p, i, &e);
}

static void dump_service(struct dump *d, const struct vservice *v)
{
	struct strbuf s = line(d);
	char text[ADDR_TEXT];
	struct addr vip;
	struct vport p;

	add_name(&s, "service ", vservice_ns(v));
	add_name(&s, "/", vservice_name(v));
	for (unsigned i = 0; vservice_vip(v, i, &vip); i++)
		strbuf_printf(&s, " vip=%s", addr_text(&vip, false, text));
	add_slot(&s, vservice_slot(v));
	if (vservice_lacks_endpoints(v))
		strbuf_adds(&s, " lacks-endpoints");
	end(d, &s);
	for (uint32_t i = 0; vservice_port_at(v, i, &p); i++)
		dump_port(d, &p);
}

void view_dump_service(const struct vservice *v, void (*say)(void *arg, const char *p, size_t n),
		       void *arg)
{
	struct dump d;

	d.say = say;
	d.arg = arg;
	dump_service(&d, v);
}

void view_dump(const struct view *v, void (*say)(void *arg, const char *p, size_t n), void *arg)
{
	struct slice account, node;
	struct vnamespace ns;
	struct vservice svc;
	struct dump d;

	d.say = say;
	d.arg = arg;
	for (uint32_t i = 0; view_namespace_nth(v, i, &ns); i++) {
		struct strbuf s = line(&d);

		add_name(&s, "namespace ", ns.name);
		add_name(&s, " tenant=", ns.tenant);
		add_slot(&s, ns.tenant_slot);
		strbuf_printf(&s, " weight=%u memory=%llu connections=%u requests=%u", ns.weight,
			      (unsigned long long)ns.memory_bytes, ns.connections, ns.requests);
		for (unsigned m = 0; m < NS_MODES; m++)
			if (ns.modes.of[m])
				strbuf_printf(&s, " %s=%s", ns_mode_label((enum ns_mode)m),
					      ns_mode_text((enum ns_mode)m, ns.modes.of[m]));
		end(&d, &s);
		for (uint32_t k = 0; view_placed_nth(v, ns.name, k, &account, &node); k++) {
			s = line(&d);
			add_name(&s, "  placed ", account);
			add_name(&s, " node=", node);
			end(&d, &s);
		}
	}
	for (uint32_t i = 0; view_service_nth(v, i, &svc); i++)
		dump_service(&d, &svc);
}
