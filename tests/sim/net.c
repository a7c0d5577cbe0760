/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See net.h. */
#include "tests/sim/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct net *net;		/* the one in use */

uint32_t net_rand(struct net *n, uint32_t below)
{
	/* xorshift64*, Vigna 2014 */
	n->x ^= n->x >> 12;
	n->x ^= n->x << 25;
	n->x ^= n->x >> 27;
	return (uint32_t)((n->x * 0x2545f4914f6cdd1du >> 33) % below);
}

void net_init(struct net *n, uint64_t seed, int64_t *world_ns)
{
	*n = (struct net){ .x = seed * 0x9e3779b97f4a7c15u + 0x1234567, .world_ns = world_ns };
	list_init(&n->links);
}

static void link_free(struct net *n, struct link *l)
{
	list_remove(&l->node);
	n->at[l->slot] = NULL;
	n->n_links--;
	free(l->in.ring);
	free(l->out.ring);
	free(l);
}

void net_fini(struct net *n)
{
	list_each(it, &n->links)
		link_free(n, container_of(it, struct link, node));
}

void net_use(struct net *n)
{
	net = n;
	tcp_world = n ? &net_world : &tcp_kernel;
}

static struct link *link_new(struct net *n)
{
	struct link *l = calloc(1, sizeof *l);

	must(l && n->n_links < NET_LINKS);
	while (n->at[l->slot])
		l->slot++;
	n->at[l->slot] = l;
	l->ours_open = l->theirs_open = true;
	l->in.window = 1 + net_rand(n, net_chance(n, 3) ? 64 : NET_WINDOW_MAX);
	l->out.window = 1 + net_rand(n, net_chance(n, 3) ? 64 : NET_WINDOW_MAX);
	if (net_chance(n, 2))
		l->in.window = l->out.window = NET_WINDOW_MAX;
	l->in.ring = malloc(l->in.window);
	l->out.ring = malloc(l->out.window);
	must(l->in.ring && l->out.ring);
	list_add_tail(&n->links, &l->node);
	n->n_links++;
	return l;
}

/* ---- bytes ---- */

static size_t way_put(struct way *w, const uint8_t *p, size_t n)
{
	size_t room = w->window - (size_t)(w->wrote - w->read);

	n = min_of(n, room);
	for (size_t i = 0; i < n; i++)
		w->ring[(w->wrote + i) % w->window] = p[i];
	w->wrote += n;
	return n;
}

static size_t way_get(struct way *w, uint8_t *p, size_t n)
{
	n = min_of(n, (size_t)(w->arrived - w->read));
	for (size_t i = 0; i < n; i++)
		p[i] = w->ring[(w->read + i) % w->window];
	w->read += n;
	return n;
}

static void reset_theirs(struct link *l)
{
	l->theirs_reset = true;
	l->out.wrote = l->out.arrived;		/* lost on the way */
}

static void reset_ours(struct link *l)
{
	if (!l->ours_open)
		return;
	l->ours_reset = true;
	l->in.wrote = l->in.arrived;
	l->error = l->connecting ? -ECONNREFUSED : -ECONNRESET;
	l->event = true;
}

static void took_time(void)
{
	*net->world_ns += 300 + net_rand(net, 2000);
}

/* ---- our end ---- */

static struct link *link_of(const struct stream *s)
{
	struct link *l = net->at[s->fd.v - NET_FD];

	must(l && l->ours_open);
	return l;
}

static ssize_t sim_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct link *l = link_of(s);
	size_t n = way_get(&l->in, buf, room);

	took_time();
	if (n || room == 0)
		return (ssize_t)n;
	if (l->ours_reset)
		return -ECONNRESET;
	return l->in.end_arrived ? 0 : -EAGAIN;
}

static ssize_t sim_write(struct stream *s, const struct iovec *v, int n)
{
	struct link *l = link_of(s);
	size_t all = 0, k = 0;

	took_time();
	if (l->connecting)
		return -EAGAIN;
	if (l->ours_reset || l->out.end_wrote)
		return -EPIPE;
	for (int i = 0; i < n; i++) {
		size_t w = way_put(&l->out, v[i].iov_base, v[i].iov_len);

		all += v[i].iov_len;
		k += w;
		if (w < v[i].iov_len)
			break;
	}
	if (k == 0 && all) {
		l->wants_room = true;
		return -EAGAIN;
	}
	return (ssize_t)k;
}

static ssize_t sim_pull(struct stream *s, int pipe, size_t max)
{
	struct link *l = link_of(s);
	uint8_t buf[8192];
	size_t n = min_of(min_of(max, sizeof buf), (size_t)(l->in.arrived - l->in.read));
	ssize_t k;

	took_time();
	if (n == 0)
		return l->ours_reset ? -ECONNRESET : l->in.end_arrived ? 0 : -EAGAIN;
	n = way_get(&l->in, buf, n);
	k = write(pipe, buf, n);
	must(k == (ssize_t)n);
	return k;
}

static ssize_t sim_push(struct stream *s, int pipe, size_t n)
{
	struct link *l = link_of(s);
	uint8_t buf[8192];
	size_t room = l->out.window - (size_t)(l->out.wrote - l->out.read);
	ssize_t k;

	took_time();
	if (l->ours_reset || l->out.end_wrote)
		return -EPIPE;
	if (room == 0) {
		l->wants_room = true;
		return -EAGAIN;
	}
	k = read(pipe, buf, min_of(min_of(n, sizeof buf), room));
	must(k > 0);
	must(way_put(&l->out, buf, (size_t)k) == (size_t)k);
	return k;
}

static int sim_finish(struct stream *s)
{
	struct link *l = link_of(s);

	took_time();
	if (l->ours_reset)
		return -ENOTCONN;
	l->out.end_wrote = true;
	return 0;
}

static int sim_error(struct stream *s)
{
	return link_of(s)->error;
}

static void sim_close(struct stream *s, bool abort)
{
	struct link *l = link_of(s);

	took_time();
	must(l->ours_open);
	l->ours_open = false;
	l->watched = false;
	s->fd.v = -1;
	if (abort || l->in.read != l->in.arrived || l->connecting)
		reset_theirs(l);
	else
		l->out.end_wrote = true;
}

static const struct stream_ops copied_ops = {
	.name = "sim", .read = sim_read, .write = sim_write, .finish = sim_finish,
	.error = sim_error, .close = sim_close,
};
static const struct stream_ops spliced_ops = {
	.name = "sim+splice", .read = sim_read, .write = sim_write, .pull = sim_pull,
	.push = sim_push, .finish = sim_finish, .error = sim_error, .close = sim_close,
};

static struct stream stream_of(struct net *n, struct link *l)
{
	return (struct stream){ .ops = n->pipes ? &spliced_ops : &copied_ops,
				.fd = { NET_FD + (int)l->slot } };
}

static int sim_connect(const struct addr *a, struct stream *ret)
{
	struct link *l;
	int r;

	took_time();
	if (net_chance(net, net->short_of_descriptors))
		return -EMFILE;
	l = link_new(net);
	l->addr = *a;
	l->connecting = true;
	*ret = stream_of(net, l);
	r = net->dialled(net->arg, l);
	if (r < 0) {
		link_free(net, l);
		*ret = (struct stream){ .fd = FD_NONE };
		return r;
	}
	return -EINPROGRESS;
}

static int sim_dialled(const struct stream *s, struct addr *ret)
{
	*ret = link_of(s)->addr;
	return 0;
}

static int sim_watch(struct poll *p, const struct stream *s, uint64_t token)
{
	struct link *l = link_of(s);

	(void)p;
	l->watched = true;
	l->token = token;
	l->event = true;
	return 0;
}

static int sim_accept(int listener, struct stream *ret, struct addr *peer)
{
	(void)listener, (void)ret, (void)peer;
	return -EAGAIN;		/* callers come by net_call() */
}

const struct tcp_world net_world = {
	.accept = sim_accept, .connect = sim_connect, .dialled = sim_dialled, .watch = sim_watch,
};

/* ---- their end ---- */

struct link *net_call(struct net *n, struct stream *ret)
{
	struct link *l = link_new(n);

	*ret = stream_of(n, l);
	return l;
}

void link_accept(struct net *n, struct link *l)
{
	(void)n;
	l->connecting = false;
	l->event = true;
}

void link_refuse(struct net *n, struct link *l, int error)
{
	reset_ours(l);
	l->error = error;
	l->connecting = false;
	link_leave(n, l);
}

ssize_t link_take(struct net *n, struct link *l, uint8_t *buf, size_t room)
{
	size_t k = way_get(&l->out, buf, room);
	uint64_t free = l->out.window - (l->out.wrote - l->out.read);

	n->moved += k;
	if (k && l->wants_room && (free >= l->out.window / 3 || free == l->out.window)) {
		l->wants_room = false;
		l->event = true;
	}
	if (k || room == 0)
		return (ssize_t)k;
	if (l->theirs_reset)
		return -ECONNRESET;
	return l->out.end_arrived ? 0 : -EAGAIN;
}

ssize_t link_give(struct net *n, struct link *l, const void *p, size_t len)
{
	size_t k;

	if (l->theirs_reset || l->in.end_wrote)
		return -EPIPE;
	k = way_put(&l->in, p, len);
	n->moved += k;
	return k ? (ssize_t)k : -EAGAIN;
}

void link_finish(struct link *l)
{
	l->in.end_wrote = true;
}

void link_leave(struct net *n, struct link *l)
{
	l->theirs_open = false;
	n->moved++;
	if (l->out.read != l->out.arrived)
		reset_ours(l);
	else
		l->in.end_wrote = true;
}

void link_break(struct net *n, struct link *l)
{
	l->theirs_open = false;
	n->moved++;
	reset_ours(l);
}

/* ---- arrivals ---- */

static bool arrive(struct net *n, struct way *w)
{
	uint64_t on_way = w->wrote - w->arrived;

	if (on_way) {
		w->arrived += net_chance(n, 3) ? 1 + net_rand(n, (uint32_t)on_way) : on_way;
	} else if (w->end_wrote && !w->end_arrived) {
		w->end_arrived = true;
	} else {
		return false;
	}
	n->moved++;
	return true;
}

void net_tick(struct net *n)
{
	list_each(it, &n->links) {
		struct link *l = container_of(it, struct link, node);

		if (!l->ours_open && !l->theirs_open) {
			link_free(n, l);
			continue;
		}
		if (l->connecting || net_chance(n, 3) || *n->world_ns < l->quiet_until_ns)
			continue;
		if (arrive(n, &l->in)) {
			if (l->ours_open)
				l->event = true;
			else if (l->in.arrived != l->in.read)
				reset_theirs(l);	/* bytes for nobody */
		}
		if (arrive(n, &l->out) && !l->theirs_open && l->out.arrived != l->out.read)
			reset_ours(l);
	}
}

static unsigned bits_of(const struct link *l)
{
	unsigned bits = 0;

	if (l->in.arrived != l->in.read)
		bits |= READY_IN;
	if (l->in.end_arrived)
		bits |= READY_IN | READY_END;
	if (!l->connecting && l->out.wrote - l->out.read < l->out.window)
		bits |= READY_OUT;
	if (l->ours_reset)
		bits |= READY_IN | READY_OUT | READY_END | READY_ERR;
	return bits;
}

unsigned net_collect(struct net *n, bool (*fn)(void *, uint64_t, unsigned), void *arg)
{
	unsigned told = 0, at = n->n_links ? net_rand(n, n->n_links) : 0;

	/* In another order each time: the list is turned. */
	while (at--) {
		struct node *first = list_first(&n->links);

		list_remove(first);
		list_add_tail(&n->links, first);
	}
	list_each(it, &n->links) {
		struct link *l = container_of(it, struct link, node);
		unsigned bits;

		if (!l->event || !l->watched || net_chance(n, 4))
			continue;
		l->event = false;
		bits = bits_of(l);
		if (bits == 0)
			continue;
		told++;
		must(fn(arg, l->token, bits));
	}
	return told;
}
