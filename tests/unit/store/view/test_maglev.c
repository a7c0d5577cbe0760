/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The table of Maglev: shares, and how little moves. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/view/maglev.h"

#define HOSTS 1000

static uint16_t table[MAGLEV_SIZE_MAX], other[MAGLEV_SIZE_MAX];
static struct maglev_host host[HOSTS];
static unsigned seen[HOSTS];

static void hosts(unsigned n, unsigned without)
{
	for (unsigned i = 0, k = 0; i < n; i++)
		if (i != without)
			host[k++] = (struct maglev_host){
				.addr = { .ip = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i }, .family = 4,
					  .port = 8080 }, .weight = 100 };
}

static void fill(unsigned n, uint32_t size)
{
	maglev_fill(host, n, table, size);
	memset(seen, 0, sizeof seen);
	for (uint32_t i = 0; i < size; i++) {
		ck_assert_uint_lt(table[i], n);
		seen[table[i]]++;
	}
}

START_TEST(slots_are_as_the_weights_say)
{
	/* Envoy's vector: 1:2 of 65537. */
	hosts(2, HOSTS);
	host[0].weight = 1;
	host[1].weight = 2;
	fill(2, 65537);
	ck_assert_uint_eq(seen[0], 21846);
	ck_assert_uint_eq(seen[1], 43691);
	/* Alike: the slots differ by one at most. */
	hosts(10, HOSTS);
	fill(10, 16381);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(seen[i] == 1638 || seen[i] == 1639);
	/* Very different: everybody has one all the same. */
	hosts(3, HOSTS);
	host[0].weight = 1;
	host[1].weight = host[2].weight = 1000;
	fill(3, 251);
	ck_assert_uint_eq(seen[0], 1);
}
END_TEST

START_TEST(every_host_makes_the_same_table)
{
	/* Pinned: hosts of different builds must agree.  Whoever changes this moves all keys. */
	uint64_t sum = 0;

	hosts(5, HOSTS);
	fill(5, 1021);
	for (unsigned i = 0; i < 1021; i++)
		sum = sum * 31 + table[i];
	ck_assert_msg(sum == 6501456999481831614u, "%llu", (unsigned long long)sum);
}
END_TEST

START_TEST(one_that_goes_takes_little_with_it)
{
	unsigned moved = 0;

	hosts(100, HOSTS);
	fill(100, 65537);
	memcpy(other, table, sizeof table);
	hosts(100, 40);
	fill(99, 65537);
	for (unsigned i = 0; i < 65537; i++) {
		unsigned was = other[i], is = table[i] + (table[i] >= 40);

		if (was != 40)
			moved += was != is;
	}
	/* Of the other 99 % at most some percent: Maglev gives up a little for its even shares. */
	printf("%u of 65537 slots moved beside those of the one that went\n", moved);
	ck_assert_uint_lt(moved, 65537 * 3 / 100);
}
END_TEST

START_TEST(more_hosts_than_slots_fill_it)
{
	hosts(HOSTS, HOSTS);
	fill(HOSTS, 251);
	for (unsigned i = 0; i < HOSTS; i++)
		ck_assert_uint_eq(seen[i], i < 251);
}
END_TEST

UNIT_TESTS("maglev", slots_are_as_the_weights_say, every_host_makes_the_same_table,
	   one_that_goes_takes_little_with_it, more_hosts_than_slots_fill_it)
