/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Both ends of a TLS 1.3 handshake and nothing more, for tests/bench/handshakes:
 *
 *   shakes server PORT CERTIFICATE KEY      BoringSSL in one process, the least that can serve one
 *   shakes client PORT CONNS COUNT MODE     COUNT handshakes, CONNS at once; MODE is full or resumed
 *
 * A caller connects, shakes hands, says close_notify and waits for the end, with which a ticket comes
 * (BoringSSL keeps it until the server writes something, and does not look at one behind close_notify).  In
 * mode resumed a first caller, alone, says something in its place, and each later one shows the ticket that it
 * got.  Prints a line of JSON: how many there were, were resumed, did not succeed,
 * and the suite, group and signature (as numbers of TLS) of the last full one, to be compared. */
#include "tests/bench/tool.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>

struct end {
	int fd;
	SSL *ssl;
	bool shaken, ended;
};

static SSL_CTX *ctx;

static SSL_CTX *make_ctx(void)
{
	static const uint16_t takes[] = { SSL_SIGN_ED25519, SSL_SIGN_ECDSA_SECP256R1_SHA256 };

	ctx = SSL_CTX_new(TLS_method());
	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_verify_algorithm_prefs(ctx, takes, 2) || !SSL_CTX_set_num_tickets(ctx, 1))
		die("SSL_CTX");
	return ctx;
}

static void end_of(struct end *e, int fd)
{
	*e = (struct end){ .fd = fd, .ssl = SSL_new(ctx) };
	if (!e->ssl || !SSL_set_fd(e->ssl, fd))
		die("SSL_new");
	watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, (uint64_t)(uintptr_t)e);
}

static void end_close(struct end *e)
{
	SSL_free(e->ssl);
	close(e->fd);
}

/* ---- server ---- */

/* Shakes hands, and ends it when something is said, be it close_notify; false: it is over. */
static bool serve(struct end *e)
{
	char buf[512];
	int n;

	ERR_clear_error();
	n = e->shaken ? 1 : SSL_do_handshake(e->ssl);
	e->shaken = n > 0;
	if (n > 0)
		n = SSL_read(e->ssl, buf, sizeof buf);
	n = SSL_get_error(e->ssl, n);
	if (n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE)
		return true;
	SSL_shutdown(e->ssl);
	return false;
}

static _Noreturn void run_server(int port, const char *cert, const char *key)
{
	struct sockaddr_in a = local(port);
	int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event ev[256];

	if (!SSL_CTX_use_certificate_chain_file(make_ctx(), cert) ||
	    !SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM))
		die("certificate or key");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 1024) < 0)
		die("listen");
	watch(l, EPOLLIN, 0);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			struct end *e = (struct end *)(uintptr_t)ev[i].data.u64;
			int fd;

			if (e && !serve(e)) {
				end_close(e);
				free(e);
			}
			while (!e && (fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				struct end *c = malloc(sizeof *c);

				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				end_of(c, fd);
				SSL_set_accept_state(c->ssl);
			}
		}
	}
}

/* ---- client ---- */

static SSL_SESSION *ticket;
static bool resumes;
static unsigned begun, done, resumed, failed;
static struct {
	unsigned suite, group, signature;
} was;

static int keep(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(ticket);
	ticket = s;
	return 1;
}

static void begin(struct end *e, int port)
{
	struct sockaddr_in a = local(port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	begun++;
	end_of(e, fd);
	SSL_set_tlsext_host_name(e->ssl, "shop.example");
	SSL_set_connect_state(e->ssl);
	if (resumes && ticket)
		SSL_set_session(e->ssl, ticket);
}

static void shaken(struct end *e)
{
	e->shaken = true;
	resumed += SSL_session_reused(e->ssl) != 0;
	if (!SSL_session_reused(e->ssl)) {
		was.suite = SSL_CIPHER_get_id(SSL_get_current_cipher(e->ssl)) & 0xffff;
		was.group = SSL_get_curve_id(e->ssl);
		was.signature = SSL_get_peer_signature_algorithm(e->ssl);
	}
}

/* False: it is over. */
static bool call(struct end *e)
{
	char buf[512];
	int n;

	ERR_clear_error();
	n = e->shaken ? 1 : SSL_do_handshake(e->ssl);
	if (n > 0 && !e->shaken) {
		shaken(e);
		if (resumes && !ticket)
			SSL_write(e->ssl, "?\r\n\r\n", 5);
		else
			SSL_shutdown(e->ssl);
	}
	while (n > 0)
		n = SSL_read(e->ssl, buf, sizeof buf);
	n = SSL_get_error(e->ssl, n);
	e->ended = n == SSL_ERROR_ZERO_RETURN;
	return n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE;
}

static void run_client(int port, unsigned conns, unsigned count)
{
	struct end *all = calloc(conns, sizeof *all);
	struct epoll_event ev[256];
	unsigned open = 0;

	SSL_CTX_set_session_cache_mode(make_ctx(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	while (done < count) {
		int n;

		/* The first is alone, for its ticket. */
		for (; open < conns && begun < count && (open == 0 || ticket); open++)
			begin(&all[open], port);
		n = epoll_wait(ep, ev, 256, 5000);
		if (n <= 0) {
			failed += count - done;
			return;
		}
		for (int i = 0; i < n; i++) {
			struct end *e = (struct end *)(uintptr_t)ev[i].data.u64;

			if (ev[i].events & EPOLLERR || !call(e)) {
				done++;
				failed += !e->ended;
				end_close(e);
				if (begun < count)
					begin(e, port);
			}
		}
	}
}

int main(int argc, char **argv)
{
	tool_init();
	if (argc == 5 && !strcmp(argv[1], "server"))
		run_server(atoi(argv[2]), argv[3], argv[4]);
	if (argc != 6 || strcmp(argv[1], "client") != 0 ||
	    (strcmp(argv[5], "full") != 0 && strcmp(argv[5], "resumed") != 0))
		return fprintf(stderr, "usage: see the beginning of shakes.c\n"), 2;
	resumes = !strcmp(argv[5], "resumed");
	run_client(atoi(argv[2]), (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]));
	printf("{\"done\":%u,\"resumed\":%u,\"failed\":%u,\"suite\":%u,\"group\":%u,\"signature\":%u}\n", done, resumed,
	       failed, was.suite, was.group, was.signature);
	return 0;
}
