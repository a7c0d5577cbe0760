/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See call.h. */
#include "admin/cli/call.h"

#include <errno.h>
#include <llhttp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

struct reading {
	llhttp_t parser;
	struct response *ret;
	bool done;
};

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct reading *r = p->data;

	text_add(&r->ret->body, slice_of(at, n));
	return r->ret->body.cut ? -1 : 0;
}

static int on_complete(llhttp_t *p)
{
	struct reading *r = p->data;

	if (p->status_code < 200)
		return 0;	/* 100 Continue: the answer follows */
	r->ret->status = p->status_code;
	r->done = true;
	return HPE_PAUSED;
}

static int explain(int error, const char *path, int seconds, char problem[512])
{
	switch (error) {
	case ENOENT:
		snprintf(problem, 512,
			 "there is no socket %s: nodeproxy does not run, or uses another one\n"
			 "start it (systemctl start nodeproxy, or nodeproxy -c FILE as root), or name its "
			 "socket with -s or NODEPROXY_SOCKET", path);
		break;
	case ECONNREFUSED:
		snprintf(problem, 512,
			 "nobody listens on %s: nodeproxy was stopped, or is about to start again\n"
			 "start it (systemctl start nodeproxy, or nodeproxy -c FILE as root)", path);
		break;
	case EACCES:
	case EPERM:
		snprintf(problem, 512,
			 "no permission for %s\n"
			 "run this as root, or join the group that admin.group names in nodeproxy.yaml",
			 path);
		break;
	case EAGAIN:
		snprintf(problem, 512, "%s does not answer within %d seconds\n"
			 "look at standard error of nodeproxy (journalctl -u nodeproxy)", path,
			 seconds);
		break;
	default:
		snprintf(problem, 512, "%s: %s\n"
			 "look at standard error of nodeproxy (journalctl -u nodeproxy)", path,
			 strerror(error));
		break;
	}
	return -error;
}

static int open_socket(const char *path, int seconds)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = seconds };
	int fd, e;

	if (strlen(path) >= sizeof sa.sun_path)
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		e = errno;
		close(fd);
		return -e;
	}
	return fd;
}

static int send_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s = slice_from(s, (size_t)n);
	}
	return 0;
}

static int receive(int fd, struct reading *r)
{
	static char buf[65536];

	while (!r->done) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		if (llhttp_execute(&r->parser, buf, (size_t)n) != HPE_OK && !r->done)
			return -EPROTO;
	}
	return 0;
}

int call_daemon(const char *path, const char *method, const char *target, int seconds,
		struct response *ret, char problem[512])
{
	static const llhttp_settings_t settings = { .on_body = on_body,
						    .on_message_complete = on_complete };
	struct text req = text_of(1 << 16);
	struct reading r = { .ret = ret };
	int fd = open_socket(path, seconds), e;

	*ret = (struct response){ .body = text_of(CALL_ANSWER_BYTES) };
	if (fd < 0)
		return explain(-fd, path, seconds, problem);
	llhttp_init(&r.parser, HTTP_RESPONSE, &settings);
	r.parser.data = &r;
	text_printf(&req, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method,
		    target, strcmp(method, "POST") == 0 ? "Content-Length: 0\r\n" : "");
	e = req.cut ? -E2BIG : send_all(fd, text_slice(&req));
	if (e == 0 || e == -EPIPE)	/* an early answer may still be there */
		e = receive(fd, &r);
	text_fini(&req);
	close(fd);
	if (e < 0) {
		text_fini(&ret->body);
		return explain(-e, path, seconds, problem);
	}
	return 0;
}

void call_escape(struct text *t, const char *s)
{
	for (; *s; s++) {
		uint8_t c = (uint8_t)*s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-_.~", c))
			text_addc(t, (char)c);
		else
			text_printf(t, "%%%02X", c);
	}
}
