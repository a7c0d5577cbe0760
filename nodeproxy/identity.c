/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See identity.h. */
#include "nodeproxy/identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/lib/net/certs.h"
#include "nodeproxy/master.h"
#include "nodeproxy/programs.h"

#define PEM	   ".pem"
#define PATH	   512u	/* a setting and a name in it */
#define PAIR_TICKS 5	/* seconds between two looks at files of pairs: there may be hundreds */

static_must((int)IDENTITY_NONE == CERTS_ISSUER_NONE && (int)IDENTITY_NODE_CA == CERTS_ISSUER_NODE_CA &&
	    (int)IDENTITY_FILES == CERTS_ISSUER_FILES);

int identity_open(struct master *m)
{
	m->identity.told = calloc(1, IDENTITIES_BYTES(IDENTITIES_MAX));
	return m->identity.told ? 0 : -ENOMEM;
}

/* ---- files ---- */

/* Calls fn for each file there is to open, in the order that keyd needs them.  A directory that cannot be
 * read is one file that cannot be opened. */
struct wanted {
	struct msg_identity_file m;
	enum knob_index row[2];
	char path[2][PATH];
	unsigned n;
};

typedef void wanted_fn(void *arg, struct wanted *);

static void one_file(enum identity_file what, enum knob_index row, const char *path, wanted_fn *fn, void *arg)
{
	struct wanted w = { .m = { .what = what }, .row = { row, row }, .n = 1 };

	snprintf(w.path[0], sizeof w.path[0], "%s", path);
	fn(arg, &w);
}

static void each_bundle(const struct knobs *k, wanted_fn *fn, void *arg)
{
	struct wanted w = { .m = { .what = IDENTITY_FILE_BUNDLE }, .row = { KNOB_identity_bundle }, .n = 1 };
	struct dirent **names = NULL;
	struct stat st;
	int n;

	snprintf(w.m.trust_domain, sizeof w.m.trust_domain, "%s", k->trust_domain);
	if (stat(k->identity_bundle, &st) < 0 || !S_ISDIR(st.st_mode)) {
		snprintf(w.path[0], sizeof w.path[0], "%s", k->identity_bundle);
		fn(arg, &w);
		return;
	}
	n = scandir(k->identity_bundle, &names, NULL, alphasort);
	for (int i = 0, found = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		size_t len = strlen(name), end = sizeof PEM - 1;

		if (name[0] != '.' && len > end && len - end < sizeof w.m.trust_domain &&
		    strcmp(name + len - end, PEM) == 0 && found++ <= (int)CERTS_BUNDLES) {
			memset(w.m.trust_domain, 0, sizeof w.m.trust_domain);
			memcpy(w.m.trust_domain, name, len - end);
			snprintf(w.path[0], sizeof w.path[0], "%s/%s", k->identity_bundle, name);
			fn(arg, &w);
		}
		free(names[i]);
	}
	free(names);
}

static void each_pair(const struct master *m, const struct knobs *k, wanted_fn *fn, void *arg)
{
	for (uint32_t i = 0; i < m->identity.told->n; i++) {
		const struct msg_identity *of = &m->identity.told->at[i];
		struct wanted w = { .m = { .what = IDENTITY_FILE_PAIR, .of = *of },
				    .row = { KNOB_identity_files, KNOB_identity_files }, .n = 2 };

		snprintf(w.path[0], sizeof w.path[0], "%s/%s.%s" PEM, k->identity_files, of->ns, of->account);
		snprintf(w.path[1], sizeof w.path[1], "%s/%s.%s.key", k->identity_files, of->ns, of->account);
		fn(arg, &w);
	}
}

/* m NULL: without pairs, of which each may be missing. */
static void each_file(const struct master *m, const struct knobs *k, wanted_fn *fn, void *arg)
{
	if (k->identity_passphrase[0])
		one_file(IDENTITY_FILE_PASSPHRASE, KNOB_identity_passphrase, k->identity_passphrase, fn, arg);
	if (k->identity_issuer == IDENTITY_NODE_CA) {
		struct wanted w = { .m = { .what = IDENTITY_FILE_CA }, .n = 2,
				    .row = { KNOB_identity_ca_certificate, KNOB_identity_ca_key } };

		snprintf(w.path[0], sizeof w.path[0], "%s", k->identity_ca_certificate);
		snprintf(w.path[1], sizeof w.path[1], "%s", k->identity_ca_key);
		fn(arg, &w);
	}
	if (k->identity_bundle[0])
		each_bundle(k, fn, arg);
	if (k->identity_crl[0])
		one_file(IDENTITY_FILE_CRL, KNOB_identity_crl, k->identity_crl, fn, arg);
	if (m && k->identity_issuer == IDENTITY_FILES)
		each_pair(m, k, fn, arg);
}

/* 0, or -errno and which of them. */
static int open_wanted(struct wanted *w, struct fd ret[2])
{
	int r = 0;

	ret[0] = ret[1] = FD_NONE;
	for (w->m.which = 0; r == 0 && w->m.which < w->n; w->m.which++)
		r = files_open_regular((struct fd){ AT_FDCWD }, w->path[w->m.which], &ret[w->m.which]);
	if (r == 0)
		return 0;
	w->m.which--;
	fd_close(&ret[0]);
	fd_close(&ret[1]);
	return r;
}

struct trial {
	int r;
	enum knob_index row;
	char *words;
};

static void try_one(void *arg, struct wanted *w)
{
	struct trial *t = arg;
	struct fd f[2];
	int r = t->r < 0 ? 0 : open_wanted(w, f);

	if (r < 0) {
		t->r = r;
		t->row = w->row[w->m.which];
		snprintf(t->words, 320, "cannot open %.200s: %s", w->path[w->m.which],
			 r == -EINVAL ? "not a regular file" : strerror(-r));
	} else if (t->r == 0) {
		fd_close(&f[0]);
		fd_close(&f[1]);
	}
}

int identity_try(const struct knobs *k, enum knob_index *ret_row, char words[320])
{
	struct trial t = { .words = words };

	each_file(NULL, k, try_one, &t);
	if (t.r < 0)
		*ret_row = t.row;
	return t.r;
}

bool identity_differs(const struct knobs *a, const struct knobs *b)
{
	for (unsigned i = KNOB_identity_issuer; i <= KNOB_identity_passphrase; i++)
		if (knobs_differ(a, b, (enum knob_index)i))
			return true;
	return false;
}

struct sending {
	struct child *c;
	uint32_t count;
};

static void send_one(void *arg, struct wanted *w)
{
	struct sending *s = arg;
	struct fd f[2];
	int fds[2];

	w->m.error = open_wanted(w, f);
	fds[0] = f[0].v;
	fds[1] = f[1].v;
	chan_offer(&s->c->chan, MSG_IDENTITY_FILE, &w->m, (struct slice){ 0 }, fds, w->m.error ? 0 : w->n);
	fd_close(&f[0]);
	fd_close(&f[1]);
	s->count++;
}

static void look_one(void *arg, struct wanted *w)
{
	uint64_t *seen = arg;

	for (unsigned i = 0; i < w->n; i++) {
		struct stat st = { 0 };
		uint64_t now[7];

		if (stat(w->path[i], &st) < 0)
			memset(&st, 0, sizeof st);
		now[0] = *seen;
		now[1] = hash_slice(slice_str(w->path[i]));
		now[2] = st.st_dev;
		now[3] = st.st_ino;
		now[4] = (uint64_t)st.st_size;
		now[5] = (uint64_t)st.st_mtim.tv_sec;
		now[6] = (uint64_t)st.st_mtim.tv_nsec;
		*seen = hash_slice(slice_of(now, sizeof now));
	}
}

/* Of all files, what says that one is another one, or has another content. */
static uint64_t look(const struct master *m)
{
	uint64_t seen = 0;

	each_file(m, &m->knobs, look_one, &seen);
	return seen;
}

void identity_send(struct master *m, struct child *c, const struct knobs *k, bool try)
{
	struct msg_identity_terms t = { .try = try, .issuer = k->identity_issuer,
					.life_s = k->identity_lifetime_ms / 1000 };
	struct sending s = { .c = c };

	if (!c->has_chan || !c->told)
		return;
	if (!try)
		m->identity.seen = look(m);	/* before they are opened: a change after that is seen */
	snprintf(t.trust_domain, sizeof t.trust_domain, "%s", k->trust_domain);
	snprintf(t.node, sizeof t.node, "%s", k->node);
	if (k->identity_issuer != IDENTITY_NONE)
		each_file(m, k, send_one, &s);
	t.count = s.count;
	(void)chan_say(&c->chan, MSG_IDENTITY_TERMS, &t);
}

/* ---- the directory ---- */

struct fd identity_dir(struct master *m)
{
	const char *path = m->knobs.identity_dir;
	struct fd d = FD_NONE;
	uid_t uid;
	gid_t gid;
	int r;

	if (m->knobs.identity_issuer == IDENTITY_NONE)
		return d;
	account_of(ROLE_KEYD, &uid, &gid);
	r = files_make_dirs(path, 0700);
	if (r == 0) {
		d.v = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = d.v < 0 ? -errno : 0;
	}
	if (r == 0 && (fchown(d.v, uid, gid) < 0 || fchmod(d.v, 0700) < 0))
		r = -errno;
	if (r < 0) {
		log_error("identity_dir_not_opened", "path=%s error=\"%s\"", path, strerror(-r));
		fd_close(&d);
	}
	return d;
}

/* ---- who is here ---- */

/* Those that are in a list, by what they are called: pods may have one account, or hundreds. */
#define PLACES 1024u
static_must(PLACES > IDENTITIES_MAX && (PLACES & (PLACES - 1)) == 0);

struct listed {
	uint16_t at[PLACES];	/* behind that many; 0: none */
};

static void add(struct msg_identities *l, struct listed *have, const char *ns, const char *account)
{
	struct msg_identity *at = &l->at[l->n];
	uint64_t place = hash_slice(slice_str(ns)) * 31 + hash_slice(slice_str(account));
	uint16_t i;

	for (; (i = have->at[place % PLACES]) != 0; place++)
		if (strcmp(l->at[i - 1].ns, ns) == 0 && strcmp(l->at[i - 1].account, account) == 0)
			return;
	if (l->n == IDENTITIES_MAX)
		return;
	have->at[place % PLACES] = (uint16_t)++l->n;
	*at = (struct msg_identity){ .ns = "" };
	snprintf(at->ns, sizeof at->ns, "%s", ns);
	snprintf(at->account, sizeof at->account, "%s", account);
}

/* Those that come back after a stop, too: their certificates shall be there when they are. */
static void make_list(const struct master *m, struct msg_identities *l)
{
	struct listed have = { 0 };

	l->n = 0;
	if (m->knobs.identity_issuer == IDENTITY_NONE)
		return;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		const struct pod *p = &m->pods.at[i];

		if (p->state == POD_WAITING || p->state == POD_ENTERING || p->state == POD_CAPTURED)
			add(l, &have, p->words.ns, p->words.account);
	}
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		if (m->knobs.listener[i].tls_identity[0])
			add(l, &have, m->knobs.listener[i].tls_ns, m->knobs.listener[i].tls_account);
}

void identity_here(struct master *m, struct child *c, bool again)
{
	struct identity_list *mine = &m->identity;
	struct msg_rev rev = { .rev = mine->serial + 1 };
	struct msg_identities *now;
	bool other;
	struct fd f;
	int r;

	if (m->knobs.identity_issuer == IDENTITY_NONE && mine->told->n == 0 && !again)
		return;
	now = calloc(1, IDENTITIES_BYTES(IDENTITIES_MAX));
	if (now == NULL)
		return;		/* the next change makes up for it */
	make_list(m, now);
	other = now->n != mine->told->n || memcmp(now, mine->told, IDENTITIES_BYTES(now->n)) != 0;
	free(mine->told);
	mine->told = now;
	if ((!other && !again) || !c->has_chan || !c->told)
		return;
	mine->serial++;
	if (m->knobs.identity_issuer == IDENTITY_FILES && other)
		identity_send(m, c, &m->knobs, false);	/* there are other pairs to open */
	r = memfd_sealed("nodeproxy-identities", slice_of(now, IDENTITIES_BYTES(now->n)), &f);
	if (r < 0) {
		log_error("identities_not_told", "error=\"%s\"", strerror(-r));
		return;
	}
	chan_offer(&c->chan, MSG_IDENTITIES_HERE, &rev, (struct slice){ 0 }, &f.v, 1);
	fd_close(&f);
}

void identity_tick(struct master *m)
{
	struct child *c = &m->child[CHILD_KEYD];
	uint64_t seen;

	if (m->knobs.identity_issuer == IDENTITY_NONE || c->state != PROC_READY ||
	    m->reload.state != RELOAD_IDLE)
		return;
	if (m->knobs.identity_issuer == IDENTITY_FILES && ++m->identity.ticks % PAIR_TICKS)
		return;
	seen = look(m);
	if (seen == m->identity.seen)
		return;
	log_info("identity_files_changed", "issuer=%u", m->knobs.identity_issuer);
	identity_send(m, c, &m->knobs, false);
}
