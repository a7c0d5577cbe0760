/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-keyd: the process that has the private keys.
 *
 * It has no network, and opens no file but in its own directory: keys come as descriptors from the
 * master, and what a worker may have signed is in sign.h.  Its memory is locked and in no dump.
 *
 *   files    KEY_FILE per listener, then KEY_FILES: read and, unless they are only looked at, used;
 *            certificates go to all others as one file (page.h)
 *   terms    IDENTITY_FILE and IDENTITY_TERMS, the same: how identities are issued (terms.h)
 *   here     IDENTITIES_HERE: who has an identity on this host (identities.h)
 *   lines    one per worker: SIGN_WANT in, SIGN_HERE out.  Each has its turn, with a bound
 *   tickets  keys for resumption, the same in all workers, made anew every hour; and when a worker went
 *            without a word, whoever may have read them there: then those before are not taken either
 *
 * It may die at any moment: the next one reads the same files and knows keys by the same names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "nodeproxy/keyd/page.h"
#include "nodeproxy/keyd/sign.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "nodeproxy/lib/role/begin.h"
#include "nodeproxy/lib/role/enter.h"

#define TICKETS_MS	3600000
#define LOCK_BYTES	(64u << 20)	/* of address space: several times what there is */
#define SIGN_A_PASS	16	/* of one line, before the next */
#define MESSAGES_A_PASS 64
#define LOOK_MS		1000	/* at what is to be renewed */
#define REFUSED_MS	60000	/* others are told of refusals at most that late */
#define ISSUE_A_PASS	4	/* some 100 us each, between which signatures are made */
#define ISSUE_PAUSE_MS	2

struct line {
	struct chan chan;
	bool open, leaves;
	uint32_t worker;
	uint64_t refused;
};

static struct keyd {
	struct loop loop;
	struct role_born born;
	struct keystore store;
	struct identities identities;
	struct terms_staged terms;
	struct loop_timer look;
	struct line line[PROCS_MAX];
	struct msg_ticket_keys tickets;
	struct loop_timer rotate;
	char bad[256];			/* what is wrong with the files that came last; "": nothing */
	char failed_name[CERTS_MAX][CERTS_LISTENER];
	const char *failed[CERTS_MAX + 1];
	unsigned n_failed;
	unsigned n_files;		/* KEY_FILE messages since the last KEY_FILES */
	uint64_t serial, refused[SIGN_REFUSALS], refused_told[SIGN_REFUSALS];
	struct mono told_at;
} the;

static_must(MSG_SIGNED_BYTES == SIGN_MAX);

/* ---- tickets ---- */

static void tell_tickets(struct line *l)
{
	if (l->open)
		(void)chan_say(&l->chan, MSG_TICKET_KEYS, &the.tickets);
}

static void new_tickets(bool keep_before)
{
	memcpy(the.tickets.before, the.tickets.now, sizeof the.tickets.before);
	if (!keep_before)
		memset(the.tickets.before, 0, sizeof the.tickets.before);
	rand_bytes(the.tickets.now, sizeof the.tickets.now);
	for (unsigned i = 0; i < PROCS_MAX; i++)
		tell_tickets(&the.line[i]);
}

static void rotate_cb(void *arg)
{
	(void)arg;
	new_tickets(true);
}

/* ---- signatures ---- */

static enum sign_refusal sign_it(const struct msg_sign *want, struct msg_signed *here, size_t *ret_n)
{
	struct slice bytes = slice_of(want->bytes, min_of(want->n, (uint32_t)MSG_SIGN_BYTES));
	const struct key *k = keystore_find(&the.store, want->key);
	const struct msg_identity *of;
	const struct pair *p = k ? &k->pair : identities_find(&the.identities, want->key, &of);
	enum sign_whose whose = !k ? SIGN_OF_IDENTITY : k->tls12 ? SIGN_OF_LISTENER_TLS12 : SIGN_OF_LISTENER;
	enum sign_refusal r = SIGN_NO_KEY;

	if (p)
		r = sign_check(p->key, whose, want->algorithm, bytes);
	if (r == SIGN_FINE)
		r = sign(p->key, want->algorithm, bytes, here->bytes, ret_n);
	return r;
}

static void answer(struct line *l, const struct msg_sign *want)
{
	struct msg_signed here = { .cookie = want->cookie };
	size_t n = 0;
	enum sign_refusal r = sign_it(want, &here, &n);

	here.refusal = r;
	here.n = (uint32_t)n;
	if (r != SIGN_FINE) {
		the.refused[r]++;
		l->refused++;
		log_limited(LOG_WARN, "signature_refused",
			    "worker=%u why=\"%s\" algorithm=%04x bytes=%u of_worker=%llu of_this_kind=%llu",
			    l->worker, sign_refusal_words(r), want->algorithm & 0xffff, want->n,
			    (unsigned long long)l->refused, (unsigned long long)the.refused[r]);
	}
	(void)chan_say(&l->chan, MSG_SIGN_HERE, &here);
}

static void close_line(struct line *l)
{
	chan_fini(&l->chan);
	l->open = false;
}

static void line_cb(void *arg)
{
	struct line *l = arg;
	const struct msg *m;

	clock_tick();
	for (int i = 0; i < SIGN_A_PASS; i++) {
		int r = chan_recv(&l->chan, &m);

		if (r == 0)
			return;
		if (r == 1 && m->type == MSG_SIGN_WANT) {
			answer(l, m->p);
		} else if (r == 1 && m->type == MSG_KEY_LEAVE) {
			l->leaves = true;
		} else if (r == -EAGAIN) {
			log_limited(LOG_WARN, "over_its_rate", "worker=%u", l->worker);
		} else if (r < 0) {
			bool accident = !l->leaves || r != -EPIPE;

			if (r != -EPIPE)
				log_limited(LOG_WARN, "line_broken", "worker=%u error=\"%s\"", l->worker,
					    strerror(-r));
			close_line(l);
			if (accident)
				new_tickets(false);
			return;
		}
	}
}

static void line_here(const struct msg_key_line *m, struct fd *fd)
{
	struct line *l = NULL;

	for (unsigned i = 0; i < PROCS_MAX; i++) {
		struct line *at = &the.line[i];

		if (at->open && at->worker == m->worker) {
			close_line(at);	/* its successor's, or a better one */
			l = at;
			break;
		}
		if (!at->open && l == NULL)
			l = at;
	}
	if (l == NULL) {
		fd_close(fd);
		return;
	}
	*l = (struct line){ .open = true, .worker = m->worker };
	chan_init(&l->chan, fd, ROLE_KEYD, ROLE_WORKER);
	chan_watch(&l->chan, &the.loop, line_cb, l);
	tell_tickets(l);
}

/* ---- files ---- */

static void note_bad(const struct msg_key_file *m, const char *listener, const char *words)
{
	if (the.bad[0] == 0)
		snprintf(the.bad, sizeof the.bad, "listeners[%u].%s", m->index, words);
	if (the.n_failed < CERTS_MAX) {
		snprintf(the.failed_name[the.n_failed], sizeof the.failed_name[0], "%s", listener);
		the.failed[the.n_failed] = the.failed_name[the.n_failed];
		the.failed[++the.n_failed] = NULL;
	}
	if (!m->try)
		log_error("key_files_not_used", "listener=%s why=\"%s\"", listener, words);
}

static void file_here(const struct msg_key_file *m, struct fd fd[3])
{
	static const char *const which[] = { "tls_certificate", "tls_key", "tls_client_ca" };
	char words[PAIR_WORDS];

	the.n_files++;
	if (m->error < 0) {
		snprintf(words, sizeof words, "%s: cannot be opened: %s", which[m->which % 3],
			 strerror(-m->error));
		note_bad(m, m->listener, words);
	} else if (keystore_add(&the.store, m->listener, m->tls12, fd[0], fd[1], fd[2], m->try, words) < 0) {
		note_bad(m, m->listener, words);
	}
}

static void send_certs(void)
{
	struct msg_rev rev = { .rev = ++the.serial };
	struct fd f;
	int r = page_make(&the.store, &the.identities, the.refused, clock_unix_ms() / 1000, &f);

	memcpy(the.refused_told, the.refused, sizeof the.refused_told);
	the.told_at = clock_now();

	if (r == 0) {
		r = chan_send(&the.born.chan, MSG_CERTS_MADE, &rev, (struct slice){ 0 }, &f.v, 1);
		fd_close(&f);
	}
	if (r < 0)
		log_error("certificates_not_told", "error=\"%s\"", strerror(-r));
	else
		log_info("keys_in_use", "listeners=%u identities=%u", the.store.now.n, the.identities.n);
}

static void files_here(const struct msg_key_files *m)
{
	bool all = the.n_files == m->count;

	the.n_files = 0;
	if (!all && m->try) {
		snprintf(the.bad, sizeof the.bad, "the files of listeners did not all arrive: try again");
	} else if (!all) {
		struct msg_lost l = { .type = MSG_KEY_FILE };

		keystore_drop(&the.store);	/* what is in use stays until all come again */
		(void)chan_say(&the.born.chan, MSG_LOST, &l);
	}
	if (m->try || !all) {
		keystore_drop(&the.store);	/* the.bad is for KNOBS_TRY */
	} else {
		keystore_use(&the.store, the.failed);
		send_certs();
		the.bad[0] = 0;
	}
	the.n_failed = 0;
	the.failed[0] = NULL;
}

/* ---- identities ---- */

/* Whoever provokes refusals cannot have the file made more often than that. */
static bool has_refused_more(void)
{
	return memcmp(the.refused, the.refused_told, sizeof the.refused) != 0 &&
	       mono_diff_ms(clock_now(), the.told_at) >= REFUSED_MS;
}

/* What is due, a few at a time; what others are to know is told when nothing more is due. */
static void look_cb(void *arg)
{
	bool more = identities_step(&the.identities, clock_unix_ms() / 1000, ISSUE_A_PASS);
	int64_t wait = more ? ISSUE_PAUSE_MS : LOOK_MS;

	(void)arg;
	clock_tick();
	if (!more && (the.identities.changed || has_refused_more()))
		send_certs();
	loop_timer_start(&the.loop, &the.look, wait * NS_PER_MS, 0, look_cb, NULL);
}

static void look_soon(void)
{
	loop_timer_stop(&the.loop, &the.look);
	loop_timer_start(&the.loop, &the.look, ISSUE_PAUSE_MS * NS_PER_MS, 0, look_cb, NULL);
}

static void terms_here(const struct msg_identity_terms *m)
{
	struct terms t;

	if (the.terms.n != m->count) {
		struct msg_lost l = { .type = MSG_IDENTITY_FILE };

		terms_drop(&the.terms);
		if (m->try)
			snprintf(the.bad, sizeof the.bad,
				 "identity.issuer: its files did not all arrive: try again");
		else
			(void)chan_say(&the.born.chan, MSG_LOST, &l);
		return;
	}
	terms_make(&the.terms, m, m->try, &t);
	if (m->try) {
		if (the.bad[0] == 0)
			snprintf(the.bad, sizeof the.bad, "%s", t.problem);
		terms_free(&t);
		return;
	}
	if (t.problem[0])
		log_error("identity_files_not_used", "why=\"%s\"", t.problem);
	identities_terms(&the.identities, &t, clock_unix_ms() / 1000);
	look_soon();
}

static void identities_list(struct fd f)
{
	struct slice list;
	int r = memfd_map_sealed(f, IDENTITIES_BYTES(IDENTITIES_MAX), &list);

	if (r == 0) {
		r = identities_here(&the.identities, list, clock_unix_ms() / 1000);
		memfd_unmap(&list);
	}
	if (r < 0)
		log_error("identities_not_used", "error=\"%s\"", strerror(-r));
	look_soon();
}

static void say_try(const struct msg_knobs *k)
{
	if (the.bad[0])
		chan_offer(&the.born.chan, MSG_KNOBS_REFUSED, k, slice_str(the.bad), NULL, 0);
	else
		(void)chan_say(&the.born.chan, MSG_KNOBS_OK, k);
	the.bad[0] = 0;
}

/* ---- the channel ---- */

static void handle(const struct msg *m)
{
	struct fd fd[3];

	for (unsigned i = 0; i < 3; i++)
		fd[i] = i < m->nfds ? fd_take(&((struct msg *)(uintptr_t)m)->fd[i]) : FD_NONE;
	switch (m->type) {
	case MSG_KEY_FILE:
		file_here(m->p, fd);
		break;
	case MSG_KEY_FILES:
		files_here(m->p);
		break;
	case MSG_IDENTITY_FILE:
		terms_add(&the.terms, m->p, fd);
		break;
	case MSG_IDENTITY_TERMS:
		terms_here(m->p);
		break;
	case MSG_IDENTITIES_HERE:
		identities_list(fd[0]);
		break;
	case MSG_KEY_LINE:
		line_here(m->p, &fd[0]);
		break;
	case MSG_KNOBS_TRY:
		say_try(m->p);
		break;
	case MSG_KNOBS_USE:
		(void)chan_say(&the.born.chan, MSG_KNOBS_USED, m->p);
		break;
	case MSG_LOG_LEVEL:
		log_level = (enum log_level)min_of(((const struct msg_log_level *)m->p)->level,
						   (uint32_t)LOG_ERROR);
		break;
	case MSG_PING:
		(void)chan_say(&the.born.chan, MSG_PONG, m->p);
		break;
	case MSG_STOP:
		loop_stop(&the.loop);
		break;
#ifdef NP_DEBUG_COMMANDS
	case MSG_DEBUG:
		if (!debug_do(m->p) && ((const struct msg_debug *)m->p)->what == DEBUG_DROP_CHANNEL)
			debug_drop(&the.born.chan);
		break;
#endif
	default:
		break;
	}
	for (unsigned i = 0; i < 3; i++)
		fd_close(&fd[i]);
}

static void chan_cb(void *arg)
{
	(void)arg;
	clock_tick();
	for (int i = 0; i < MESSAGES_A_PASS; i++) {
		const struct msg *m;
		int r = chan_recv(&the.born.chan, &m);

		if (r == 0)
			return;
		if (r == 1) {
			handle(m);
		} else if (r == -EMFILE) {
			struct msg_lost l = { .type = m->type };

			(void)chan_say(&the.born.chan, MSG_LOST, &l);
		} else if (r != -EAGAIN) {
			/* The master is gone: another takes the channel up, or the end has come with it. */
			loop_stop(&the.loop);
			return;
		}
	}
}

/* What is not there yet is locked as it comes.  Where that is limited to little, memory that may not be
 * locked would be memory that cannot be had. */
static int lock_memory(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_MEMLOCK, &l) < 0)
		return -errno;
	if (l.rlim_cur < LOCK_BYTES)
		return -EPERM;
	return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
	/* Without the right to lock, a host that swaps could write keys to its disk: said, and no reason
	 * not to serve. */
	int locked = lock_memory();
	struct fd none = FD_NONE;

	role_begin(ROLE_KEYD, argc, argv, &the.born);
	rand_init();
	if (locked < 0)
		log_warn("memory_not_locked", "error=\"%s\" do=\"give it RLIMIT_MEMLOCK of 64 MiB or more\"",
			 strerror(-locked));
	if (loop_init(&the.loop) < 0 || terms_init(&the.terms) < 0 ||
	    identities_init(&the.identities, the.born.nfds ? &the.born.fd[0] : &none) < 0)
		return ROLE_EXIT_START;
	new_tickets(false);
	look_soon();
	loop_timer_start(&the.loop, &the.rotate, TICKETS_MS * NS_PER_MS, TICKETS_MS, rotate_cb, NULL);
	chan_watch(&the.born.chan, &the.loop, chan_cb, NULL);
	role_ready(&the.born.chan);
	loop_run(&the.loop);
	terms_fini(&the.terms);
	identities_fini(&the.identities);
	keystore_fini(&the.store);
	return 0;
}
