/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* TCP streams over a real socket pair of the loopback interface. */
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/net/tcp.h"

/* A stream that was accepted, and the socket at its other end. */
static int pair(struct stream *ret)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0);
	struct addr peer;

	ck_assert_int_eq(bind(l, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(l, 1), 0);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&a, &n), 0);
	ck_assert_int_eq(connect(s, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(tcp_kernel.accept(l, ret, &peer), 0);
	close(l);
	return s;
}

static uint8_t out[1 << 16], in[1 << 16];

static void write_in_pieces(struct stream *s, int other, size_t total, int pieces)
{
	struct iovec v[8];
	size_t at = 0, got = 0;

	for (int i = 0; i < pieces; i++) {
		size_t n = i == pieces - 1 ? total - at : total / (size_t)pieces;

		v[i] = (struct iovec){ out + at, n };
		at += n;
	}
	ck_assert_int_eq(s->ops->write(s, v, pieces), (ssize_t)total);
	while (got < total) {
		ssize_t k = recv(other, in + got, total - got, 0);

		ck_assert_int_gt(k, 0);
		got += (size_t)k;
	}
	ck_assert_int_eq(memcmp(in, out, total), 0);
}

START_TEST(small_pieces_and_large_ones_arrive_in_order)
{
	struct stream s;
	int other = pair(&s);

	for (size_t i = 0; i < sizeof out; i++)
		out[i] = (uint8_t)(i * 31 + i / 251);
	for (int pieces = 1; pieces <= 8; pieces++) {
		/* around the size up to which they are put into one */
		static const size_t sizes[] = { 8, 100, 2040, 2047, 2048, 2049, 2056, 20000 };

		for (size_t k = 0; k < countof(sizes); k++)
			write_in_pieces(&s, other, sizes[k], pieces);
	}
	close(other);
	stream_close(&s, false);
}
END_TEST

START_TEST(a_caller_that_is_gone_is_an_error_not_a_signal)
{
	struct iovec v[2] = { { out, 10 }, { out, 10 } };
	struct stream s;
	int other = pair(&s);
	ssize_t k = 0;

	close(other);
	for (int i = 0; i < 1000 && k >= 0; i++)
		k = s.ops->write(&s, v, 2);
	ck_assert(k == -EPIPE || k == -ECONNRESET);
	stream_close(&s, true);
}
END_TEST

/* Whatever else is none: tests/unit/workers/test_fellows.c, by what becomes of who sends it. */
START_TEST(a_connection_that_another_process_accepted_is_as_one_of_its_own)
{
	struct stream s, it;
	struct addr peer;
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	struct fd fd;
	int other = pair(&s);

	fd.v = dup(s.fd.v);
	stream_close(&s, false);
	ck_assert_int_eq(tcp_may_adopt(fd, &peer), 0);
	ck_assert_int_eq(getsockname(other, (struct sockaddr *)&a, &n), 0);
	ck_assert_uint_eq(peer.family, 4);
	ck_assert_uint_eq(peer.port, ntohs(a.sin_port));
	it = tcp_adopt(&fd);
	ck_assert(!fd_is_open(fd));
	write_in_pieces(&it, other, 1000, 3);
	/* Reset while it was under way: who reads it will see. */
	close(other);
	ck_assert_int_eq(it.ops->read(&it, in, sizeof in), 0);
	(void)!it.ops->write(&it, &(struct iovec){ out, 1 }, 1);
	ck_assert_int_eq(tcp_may_adopt(it.fd, &peer), 0);
	ck_assert_uint_eq(peer.family, 4);
	stream_close(&it, false);
}
END_TEST

UNIT_TESTS("tcp", small_pieces_and_large_ones_arrive_in_order,
	   a_caller_that_is_gone_is_an_error_not_a_signal,
	   a_connection_that_another_process_accepted_is_as_one_of_its_own)
