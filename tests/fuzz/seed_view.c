/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Writes the corpus of fuzz_view into a directory: run it after a change of layout.h, with
 * tests/fuzz/corpus/view. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/view_from.h"

static const struct {
	const char *name, *base, *overlay;
} seed[] = {
	{ "empty", "", "" },
	{ "service",
	  "namespace shop tenant=t slot=1/1 weight=2\n"
	  "service shop/web vip=10.96.0.1 vip=fd00::1 slot=1/1 port=80/http/http port=81/x/tcp\n"
	  "endpoint shop/web:http 10.0.0.1:80 zone=a node=n host=h\n"
	  "endpoint shop/web:http 10.0.0.2:80 weight=300\n"
	  "endpoint shop/web:http [fd00::2]:80 notready\n"
	  "policy shop/p target=web#http balancer=RoundRobin connect=10 requests=5 connections=7 "
	  "percent=20 failures=3 delay=5/10 abort=503/14/1 check=/well\n",
	  "remove service shop/web\nnamespace shop weight=3\n" },
	{ "routes",
	  "service shop/web vip=10.96.0.1 port=80\n"
	  "route shop/r parent=shop/web\n"
	  "rule prefix=/a exact=/a/b prefix=/a/b/c name=n backend=shop/web:80*2 "
	  "backend=shop/v2:80*3\n"
	  "rule prefix=/ backend=other/web:80\n"
	  "route other/r parent=shop/web\n"
	  "rule prefix=/ method=GET header=a:1 param=b:2 backend=shop/web:80\n"
	  "rule header=h:1\nrule header=h:2\nrule header=h:3\nrule header=h:4\nrule header=h:5\n"
	  "rule header=h:6\nrule header=h:7\nrule header=h:8\nrule param=b:2\n"
	  "grpcroute third/g parent=shop/web\n"
	  "rule call=/s/m grpc_service=/s grpc_method=m\n"
	  "tcproute fourth/t parent=shop/web\nrule backend=shop/web:80\n"
	  "tlsroute fifth/s parent=shop/web\nrule server_name=a.b server_name=*.b backend=shop/web:80\n",
	  "service shop/v2 vip=10.96.0.1 port=80\nendpoint shop/v2 10.0.0.1:80\n" },
	{ "tls",
	  "service shop/web port=80/a port=81/b\n"
	  "configmap shop/x pem=one\nconfigmap shop/y pem=two\n"
	  "backendtls shop/a target=web#a host=a.b ca=x ca=y dns=c.d uri=e:f\n"
	  "backendtls shop/b target=web system\n",
	  "configmap shop/x pem=three\n" },
	{ "filters",
	  "service shop/web vip=10.96.0.1 port=80\n"
	  "route shop/r parent=shop/web\n"
	  "rule prefix=/a request.set=A:b request.add=C:d request.remove=e response.set=F:g "
	  "rewrite=host:h,prefix:/b backend=shop/web:80 @response.remove=h\n"
	  "rule prefix=/c redirect=host:h,path:/d,port:81,scheme:https,status:308\n"
	  "rule prefix=/e cors=https://*.a|http://b,methods:*,headers:C|D,expose:E,cred mirror=shop/web:80*1/3 mirror=a/b:1 backend=shop/web:80\n",
	  "" },
};

static int copy(struct fd *fd, uint64_t bytes, FILE *f)
{
	uint8_t *p = malloc(bytes);
	int ok =
		p && pread(fd->v, p, bytes, 0) == (ssize_t)bytes && fwrite(p, 1, bytes, f) == bytes;

	free(p);
	return ok;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	rand_seed(1);
	for (size_t i = 0; i < countof(seed); i++) {
		struct world *w = world_new();
		struct built base, over;
		uint32_t n;
		char path[4096];
		FILE *f;

		snprintf(path, sizeof path, "%s/%s", argv[1], seed[i].name);
		f = fopen(path, "wb");
		if (f == NULL)
			return perror(path), 1;
		world_say_files(w, seed[i].base, &base);
		world_say_files(w, seed[i].overlay, &over);
		n = (uint32_t)base.bytes;
		if (fwrite(&n, 4, 1, f) != 1 || !copy(&base.fd, base.bytes, f) ||
		    !copy(&over.fd, over.bytes, f) || fclose(f) != 0)
			return perror(path), 1;
		fd_close(&base.fd);
		fd_close(&over.fd);
		world_free(&w);
	}
	return 0;
}
