/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See podpages.h. */
#include "nodeproxy/podpages.h"

#include <errno.h>

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/master.h"

#define NAME	"pods/%u"
#define UNKNOWN 2u	/* what was not told: of no pod, as those are odd */

void podpages_init(struct podpages *pp)
{
	for (unsigned i = 0; i < PODS_PAGES; i++)
		pp->page[i] = FD_NONE;
}

/* Whole, with what is between members: it is compared. */
static void tell_of(const struct pod *p, struct pod_told *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->words = p->words;
	ret->inode = p->inode;
	ret->cookie = p->cookie;
	ret->since_unix_ms = p->since_unix_ms;
	ret->ref = p->ref;
	ret->has_ipv6 = fd_is_open(p->fd[POD_OUT6]);
	ret->workers = p->told;
	ret->leaves = pod_is_leaving(p);
	ret->waits = p->state == POD_LATER;
	ret->source = p->source;
	ret->stays = p->stays;
	ret->origin = p->origin;
	ret->addresses = p->addresses;
	ret->modes = p->modes;
	memcpy(ret->why, p->why, sizeof ret->why);
}

static bool is_coming_back(const struct pod *p)
{
	return (p->state == POD_WAITING || p->state == POD_ENTERING) && p->asker == 0;
}

/* ---- touched ---- */

static bool has_bit(const uint64_t *bits, unsigned slot)
{
	return bits[slot / 64] & 1ull << slot % 64;
}

static void set_bit(uint64_t *bits, unsigned slot)
{
	bits[slot / 64] |= 1ull << slot % 64;
}

static void clear_bit(uint64_t *bits, unsigned slot)
{
	bits[slot / 64] &= ~(1ull << slot % 64);
}

void pod_touched(struct master *m, const struct pod *p)
{
	unsigned slot = (unsigned)(p - m->pods.at);

	set_bit(m->pods.pages.untold, slot);
	set_bit(m->pods.pages.unwritten, slot);
}

/* ---- run_dir ---- */

/* Those that are captured, and those that were before a stop and are to be again. */
static int write_list(struct master *m)
{
	struct pods *ps = &m->pods;
	uint64_t *unwritten = ps->pages.unwritten;
	int r = podlist_begin(&ps->list, m->knobs.run_dir);

	if (r == 0 && ps->list.anew) {
		memset(unwritten, 0xff, sizeof ps->pages.unwritten);
		ps->list.anew = false;
	}
	for (unsigned i = 0; r == 0 && i < PODS_MAX; i++) {
		const struct pod *p = &ps->at[i];
		bool is_in;
		struct pod_told t;

		if (!has_bit(unwritten, i))
			continue;
		is_in = p->state == POD_CAPTURED || is_coming_back(p);
		if (is_in)
			tell_of(p, &t);
		r = podlist_put(&ps->list, i, is_in ? &t : NULL);
		if (r == 0)
			clear_bit(unwritten, i);
	}
	return r;
}

void pods_changed(struct master *m)
{
	/* The next start goes by the list as it was before the stop. */
	int r = m->pods.closed ? 0 : write_list(m);

	if (r < 0)
		log_limited(LOG_WARN, "pods_not_written", "dir=%s error=\"%s\"", m->knobs.run_dir,
			    strerror(-r));
	podpages_tell(m);
	identity_here(m, &m->child[CHILD_KEYD], false);
}

/* ---- pages ---- */

/* Those that are captured, those that leave, and Workloads that could not be captured.  False: it is none. */
static bool tell_of_slot(const struct pod *p, struct pod_told *ret)
{
	if (p->state != POD_CAPTURED && p->state != POD_LATER && !pod_is_leaving(p))
		return false;
	tell_of(p, ret);
	return true;
}

static uint64_t check_of(const struct pod_told *t)
{
	return hash_slice(slice_of(t, sizeof *t)) | 1;
}

static uint64_t check_now(const struct pod *p)
{
	struct pod_told now;

	return tell_of_slot(p, &now) ? check_of(&now) : 0;
}

/* Of those that were touched.  True: something is another than it was told. */
static bool compare(struct pods *ps, unsigned page)
{
	bool other = false;

	for (unsigned i = page * PODS_A_PAGE; i < (page + 1) * PODS_A_PAGE; i++) {
		uint64_t now;

		if (!has_bit(ps->pages.untold, i)) {
			must_slow(ps->pages.told[i] == check_now(&ps->at[i]));
			continue;
		}
		clear_bit(ps->pages.untold, i);
		now = check_now(&ps->at[i]);
		other |= now != ps->pages.told[i];
		ps->pages.told[i] = now;
	}
	return other;
}

static void send_page(struct master *m, struct child *c, unsigned page)
{
	struct msg_pods_seen seen = { .refs = m->pods.refs, .page = page };

	if (c->has_chan && c->told && fd_is_open(m->pods.pages.page[page]))
		chan_offer(&c->chan, MSG_PODS_SEEN, &seen, (struct slice){ 0 }, &m->pods.pages.page[page].v, 1);
}

static int make_page(const struct pod *pod, struct fd *ret)
{
	_Alignas(struct pods_page) uint8_t room[PODS_PAGE_BYTES(PODS_A_PAGE)];
	struct pods_page *page = (struct pods_page *)(void *)room;

	*page = (struct pods_page){ .magic = PODS_MAGIC };
	for (unsigned i = 0; i < PODS_A_PAGE; i++)
		page->n += tell_of_slot(&pod[i], &page->pod[page->n]);
	return memfd_sealed("nodeproxy-pods", slice_of(page, PODS_PAGE_BYTES(page->n)), ret);
}

/* Without memory or a descriptor the next change makes up for it. */
void podpages_tell(struct master *m)
{
	struct podpages *pp = &m->pods.pages;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < PODS_PAGES; i++) {
		unsigned first = i * PODS_A_PAGE;
		struct fd f;

		if (!compare(&m->pods, i))
			continue;
		r = make_page(&m->pods.at[first], &f);
		if (r < 0) {	/* so that it is another the next time */
			for (unsigned k = first; k < first + PODS_A_PAGE; k++) {
				pp->told[k] = UNKNOWN;
				set_bit(pp->untold, k);
			}
			break;
		}
		fd_close(&pp->page[i]);
		pp->page[i] = f;
		keep_share(&m->kept, f, m->pods.refs, NAME, i);
		send_page(m, &m->child[CHILD_ADMIND], i);
		if (!m->pods.closed)
			send_page(m, &m->child[CHILD_SYNCD], i);
	}
	if (r < 0)
		log_error("pods_not_told", "error=\"%s\"", strerror(-r));
	podpages_all(m);
}

void podpages_all(struct master *m)
{
	struct child *c = &m->child[CHILD_SYNCD];
	struct msg_pods_all all = { .pages = 0 };

	static_must(PODS_PAGES <= 32);
	if (m->pods.pages.all_said || !c->has_chan || !c->told)
		return;
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (is_coming_back(&m->pods.at[i]))
			return;
	for (unsigned i = 0; i < PODS_PAGES; i++)
		all.pages |= (uint32_t)fd_is_open(m->pods.pages.page[i]) << i;
	m->pods.pages.all_said = chan_say(&c->chan, MSG_PODS_ALL, &all) == 0;
}

void pods_send(struct master *m, struct child *c)
{
	for (unsigned i = 0; i < PODS_PAGES; i++)
		send_page(m, c, i);
	if (c->role == ROLE_SYNCD) {
		m->pods.pages.all_said = false;
		podpages_all(m);
	}
}

/* An error in what others are told does not last. */
void podpages_tick(struct master *m)
{
	struct podpages *pp = &m->pods.pages;
	unsigned first = pp->next * PODS_A_PAGE;
	bool other = false;

	podpages_all(m);
	if (m->pods.closed || m->phase == PHASE_TRIAL)	/* until then the list is another master's */
		return;
	pp->next = (pp->next + 1) % PODS_PAGES;
	for (unsigned i = first; i < first + PODS_A_PAGE; i++)
		if (!has_bit(pp->untold, i) && pp->told[i] != check_now(&m->pods.at[i])) {
			must_slow(false);
			pod_touched(m, &m->pods.at[i]);
			other = true;
		}
	if (other)
		pods_changed(m);
}

void podpages_adopt(struct master *m)
{
	memset(m->pods.pages.untold, 0xff, sizeof m->pods.pages.untold);
	for (unsigned i = 0; i < PODS_PAGES; i++) {
		struct fd *f = &m->pods.pages.page[i];
		const struct pods_page *page;
		struct slice bytes;
		uint64_t refs;

		if (!kept_take(&m->kept, f, &refs, NAME, i))
			continue;
		m->pods.refs = max_of(m->pods.refs, (uint32_t)refs);
		if (memfd_map_sealed(*f, PODS_PAGE_BYTES(PODS_A_PAGE), &bytes) < 0)
			continue;
		page = pods_page(bytes);
		for (uint32_t k = 0; page && k < page->n; k++) {
			m->pods.pages.told[POD_SLOT(page->pod[k].ref)] = check_of(&page->pod[k]);
			pods_take_over(m, &page->pod[k]);
		}
		memfd_unmap(&bytes);
	}
}
