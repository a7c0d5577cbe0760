/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A view from a few lines of text, so that a test says what the world is in the place where it
 * matters.  Each line is one thing (words separated by blanks, # starts a comment):
 *
 *   namespace shop [tenant=T] [slot=3/1] [weight=5] [memory=4096] [connections=10] [mode=LABEL:VALUE]... [placed=ACCOUNT@NODE]...
 *   service shop/web [vip=10.96.0.1]... [headless] [lacking] [slot=4/1]
 * port=80[/name[/http|tcp|h2|auto[/udp]]]... endpoint shop/web[:portname] 10.0.0.1:8080 [notready]
 * [terminating] [zone=Z] [node=N] [host=H] [weight=N] [priority=N]
 *   route|grpcroute|tlsroute|tcproute shop/r parent=shop/web[:80][#section]... [created=1000]
 *   rule [prefix=/a]... [exact=/b]... [call=/s/m]... [grpc_service=/s]... [grpc_method=m]... [server_name=*.a.b]...
 * [name=N] [backend=shop/web:80[*WEIGHT]]...      of the route above; method=GET, header=NAME:VALUE
 * and param=NAME:VALUE are of the match before them; filters of it, or with @ in front of the backend
 * before: [request.set=NAME:VALUE] [request.add=NAME:VALUE] [request.remove=NAME], the same with response.;
 * [redirect=WORDS] [rewrite=WORDS], words of host:H, path:P, prefix:P, scheme:S, port:N, status:N with
 * commas between them; [cors=ORIGIN|...[,methods:M|...][,headers:H|...][,expose:H|...][,age:S][,cred]]; [mirror=shop/web:80[*OF/ALL]]...
 *   grant shop/g from=HTTPRoute/other... to=web|*...
 *   remove service|namespace|route|grpcroute|tlsroute|tcproute|grant|policy|backendpolicy|rate|endpoints shop/web
 *   (of a rule also: [request=MS] [attempt=MS] [retries=N] [codes=503,504] [backoff=MS])
 *   policy shop/p target=web[#section]... [created=1000] [balancer=RoundRobin] [connect=MS]
 * [response=MS] [stall=MS] [tcp_idle=MS] [connections=N] [requests=N] [pending=N pending_ms=MS] [failures=N] [base=MS]
 * [max=MS] [percent=N] [slow=MS] [rate=MS] [hash=Header/NAME|Cookie/NAME|SourceIP] [slots=N] [prefer_zone] [overprovision=N] [panic=N]
 * [on=5xx,reset...] [retries=N] [codes=429,...] [try=MS] [backoff=BASE/MAX] [budget=PERCENT/INTERVAL_MS/COUNT]
 * [delay=MS/PERCENT] [abort=STATUS/GRPC/PERCENT] [check=TCP|/path [check_timeout=MS]]: every 100 ms, one good or two failed
 *   backendpolicy shop/b target=web... [created=1000] [budget=PERCENT/INTERVAL_MS/COUNT]
 *   host zone=Z      of the host that the view is made for
 *   backendtls shop/p target=web[#section]... [created=1000] [host=H] [ca=NAME]... [system] [dns=NAME|uri=URI]...
 *   configmap shop/NAME [pem=TEXT] [flaw=1]     ("pem of NAME" without)
 *   rate shop/p target=web[#section]... [created=1000] [key=Tenant] [identity=N/MS/BURST]
 * [total=N/MS/BURST]
 *
 * A rule without prefix= and exact= matches PathPrefix /.  Endpoints become one EndpointSlice per
 * endpoint line.  Board slots of endpoints are 100 + port, generation 7; of limits and rates
 * the port, generation 9.  Anything else aborts the
 * test with the line. */
#ifndef TESTS_LIB_VIEW_FROM_H
#define TESTS_LIB_VIEW_FROM_H

#include "store/view/build.h"
#include "store/view/view.h"

/* One base, checked; free it with view_unref. */
struct view *view_from(const char *text);

/* The same with a memory: a world keeps its rows, each world_say changes it and gives the current
 * view (base or overlay, as the builder decides), which belongs to the world. */
struct world;
struct world *world_new(void);
const struct view *world_say(struct world *, const char *text);
/* The file it makes, not adopted: the caller's to close. */
void world_say_files(struct world *, const char *text, struct built *ret);
/* Background work until a new base is there, or at most this many slices of budget_us. */
const struct view *world_work(struct world *, int slices, int64_t budget_us);
const struct view *world_view(const struct world *);
struct builder *world_builder(struct world *);
void world_free(struct world **);

/* The dump of a view as one string, for golden comparisons; free() it. */
char *view_text(const struct view *);

#endif
