/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What etcd says: any bytes are an answer, refused, or too much, and everything in an answer can be read.
 * The first byte is whose answer it is. */
#include "tests/fuzz/replay.h"

#include "nodeproxy/lib/base/hash.h"
#include "store/sync/etcd_msg.h"

static uint64_t sum;

static void read_kv(const struct etcd_kv *kv)
{
	sum += hash_stable(kv->key) + hash_stable(kv->value) + (uint64_t)kv->modified;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct etcd_mem mem = { 0 };
	struct etcd_answer a;
	struct etcd_watched w;
	struct slice in;

	if (size == 0)
		return 0;
	in = slice_of(data + 1, size - 1);
	if (data[0] % ETCD_METHODS == ETCD_DO_WATCH) {
		if (etcd_msg_watched(&mem, in, &w) == 0) {
			for (size_t i = 0; i < w.told.events; i++)
				read_kv(&w.told.event[i].kv);
			sum += strlen(w.reason);
		}
	} else if (etcd_msg_answer(&mem, data[0] % ETCD_METHODS, in, &a) == 0) {
		for (size_t i = 0; i < a.results; i++)
			for (size_t k = 0; k < a.result[i].kvs; k++)
				read_kv(&a.result[i].kv[k]);
		sum += strlen(a.token) + strlen(a.words);
	}
	must(mem.used <= ETCD_MEM_MAX);
	etcd_mem_fini(&mem);
	return 0;
}
