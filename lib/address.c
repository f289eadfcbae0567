/* SPDX-License-Identifier: MIT */
#include "lib/address.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/state.h"

/*
 * A pool is one file, <root>/addresses/<pool>.json, an object of claims by holder:
 *   {"address": "10.83.0.2"}                                      held
 *   {"address": "10.83.0.2", "boot_id": "...", "free_ms": 12345}  given back, rests until then
 * It is read and replaced whole, under the lock beside it. What MUST hold: no two claims name one
 * address; a claim is on disk before its address is handed out.
 */
enum { POOL_MAX_BYTES = 64 * 1024 * 1024 };

struct pool {
	char *path;
	int lock;
	json_t *claims;
};

#define auto_pool __attribute__((cleanup(pool_close)))

static void
pool_close(struct pool *pool)
{
	own_free(&pool->path);
	own_json(&pool->claims);
	own_close(&pool->lock);
}

static int
pool_open(struct pool *pool, const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *directory = xasprintf("%s/addresses", settings->root);
	auto_free char *lock = xasprintf("%s/%s.lock", directory, name);
	auto_free char *text = NULL;
	json_error_t error;

	*pool = (struct pool){.path = xasprintf("%s/%s.json", directory, name), .lock = -1};
	if (dir_make(directory, 0711, why) == -1 || (pool->lock = lock_take(lock, true, why)) == -1)
		return -1;
	text = file_read(pool->path, POOL_MAX_BYTES, NULL, why);
	if (text == NULL && why->code != 0)
		return -1;
	pool->claims = text == NULL ? json_object() : json_loads(text, 0, &error);
	if (!json_is_object(pool->claims))
		return fail(why, EX_CONFIG, "is no list of addresses", pool->path,
		    pool->claims == NULL ? error.text : "not an object");
	return 0;
}

static int
pool_save(const struct pool *pool, struct failure *why)
{
	auto_free char *text = json_dumps(pool->claims, JSON_COMPACT | JSON_SORT_KEYS);

	if (text == NULL)
		return fail(why, EX_SOFTWARE, "cannot write", pool->path, "a claim is no UTF-8");
	return file_replace(pool->path, text, strlen(text), 0600, why);
}

/* Another boot has forgotten every connection; so an address rests at most until the next one. */
static bool
rests(const json_t *claim, const char *boot_id, long long now_ms)
{
	const char *boot = json_string_value(json_object_get(claim, "boot_id"));
	json_int_t free_ms = json_integer_value(json_object_get(claim, "free_ms"));

	return boot != NULL && strcmp(boot, boot_id) == 0 && now_ms < free_ms;
}

static bool
held(const json_t *claim)
{
	return json_object_get(claim, "boot_id") == NULL;
}

static int
claim_address(const json_t *claim, uint32_t *address)
{
	const char *text = json_string_value(json_object_get(claim, "address"));

	return text == NULL ? -1 : address_parse(text, address);
}

static bool
inside(const struct subnet *subnet, uint32_t address)
{
	return (address & ~(UINT32_MAX >> subnet->prefix)) == subnet->network;
}

/* The lowest address from first on that no claim names; drops claims that have rested. */
static int
pool_lowest(const struct pool *pool, const struct subnet *subnet, uint32_t first, uint32_t *address)
{
	uint32_t size = (UINT32_MAX >> subnet->prefix) + 1;
	auto_free bool *used = xcalloc(size, sizeof *used);
	auto_free char *boot_id = state_boot_id();
	long long now_ms = state_now_ms();
	const char *holder;
	json_t *claim;
	void *next;

	json_object_foreach_safe(pool->claims, next, holder, claim)
	{
		uint32_t taken;

		if (!held(claim) && !rests(claim, boot_id, now_ms))
			(void)json_object_del(pool->claims, holder);
		else if (claim_address(claim, &taken) == 0 && inside(subnet, taken))
			used[taken - subnet->network] = true;
	}
	for (uint32_t host = first; host < size - 1; host++) {
		if (used[host])
			continue;
		*address = subnet->network + host;
		return 0;
	}
	return -1;
}

/* holder's address of the pool; first is the lowest host number that may be given. */
static int
pool_take(const struct settings *settings, const char *name, const struct subnet *subnet,
    uint32_t first, const char *holder, uint32_t *address, struct failure *why)
{
	auto_pool struct pool pool = {.lock = -1};
	auto_free char *text = NULL;
	const json_t *claim;

	if (pool_open(&pool, settings, name, why) == -1)
		return -1;
	claim = json_object_get(pool.claims, holder);
	/* A claim outside the subnet is from before the admiral changed it: a new one replaces it.
	 */
	if (claim != NULL && claim_address(claim, address) == 0 && inside(subnet, *address)) {
		if (held(claim))
			return 0;
	} else if (pool_lowest(&pool, subnet, first, address) == -1) {
		auto_free char *network = address_text(subnet->network);
		auto_free char *reason = xasprintf("%s/%u is used up", network, subnet->prefix);

		return fail(why, EX_TEMPFAIL, "no free address", holder, reason);
	}
	text = address_text(*address);
	if (json_object_set_new(pool.claims, holder, json_pack("{s:s}", "address", text)) == -1)
		return fail(why, EX_SOFTWARE, "cannot claim an address", holder, NULL);
	return pool_save(&pool, why);
}

static int
pool_release(
    const struct settings *settings, const char *name, const char *holder, struct failure *why)
{
	auto_pool struct pool pool = {.lock = -1};
	auto_free char *boot_id = state_boot_id();
	json_t *claim;

	if (pool_open(&pool, settings, name, why) == -1)
		return -1;
	claim = json_object_get(pool.claims, holder);
	if (claim == NULL || !held(claim))
		return 0;
	(void)json_object_set_new(claim, "boot_id", json_string(boot_id));
	(void)json_object_set_new(claim, "free_ms", json_integer(state_now_ms() + ADDRESS_REST_MS));
	return pool_save(&pool, why);
}

static int
pool_find(const struct settings *settings, const char *name, const char *holder, uint32_t *address,
    struct failure *why)
{
	auto_pool struct pool pool = {.lock = -1};
	const json_t *claim;

	if (pool_open(&pool, settings, name, why) == -1)
		return -1;
	claim = json_object_get(pool.claims, holder);
	return claim != NULL && held(claim) && claim_address(claim, address) == 0 ? 0 : 1;
}

static int
pool_each(const struct settings *settings, const char *name,
    int (*visit)(const char *holder, uint32_t address, void *context, struct failure *why),
    void *context, struct failure *why)
{
	auto_json json_t *claims = NULL;
	const char *holder;
	json_t *claim;

	{ /* visit may release: the lock must be free again by then */
		auto_pool struct pool pool = {.lock = -1};

		if (pool_open(&pool, settings, name, why) == -1)
			return -1;
		claims = steal(pool.claims);
	}
	json_object_foreach(claims, holder, claim)
	{
		uint32_t address;
		int result;

		if (!held(claim) || claim_address(claim, &address) == -1)
			continue;
		if ((result = visit(holder, address, context, why)) != 0)
			return result;
	}
	return 0;
}

int
address_take(
    const struct settings *settings, const char *container, uint32_t *address, struct failure *why)
{
	return pool_take(settings, "containers", &settings->subnet, 2, container, address, why);
}

int
address_find(
    const struct settings *settings, const char *container, uint32_t *address, struct failure *why)
{
	return pool_find(settings, "containers", container, address, why);
}

int
address_release(const struct settings *settings, const char *container, struct failure *why)
{
	return pool_release(settings, "containers", container, why);
}

int
address_each(const struct settings *settings,
    int (*visit)(const char *container, uint32_t address, void *context, struct failure *why),
    void *context, struct failure *why)
{
	return pool_each(settings, "containers", visit, context, why);
}

int
address_service(
    const struct settings *settings, const char *order, uint32_t *address, struct failure *why)
{
	auto_free char *word = order_word(order);

	return pool_take(settings, "services", &settings->services, 1, word, address, why);
}

int
address_service_find(
    const struct settings *settings, const char *order, uint32_t *address, struct failure *why)
{
	auto_free char *word = order_word(order);

	return pool_find(settings, "services", word, address, why);
}

int
address_service_release(const struct settings *settings, const char *order, struct failure *why)
{
	auto_free char *word = order_word(order);

	return pool_release(settings, "services", word, why);
}

int
address_service_each(const struct settings *settings,
    int (*visit)(const char *word, uint32_t address, void *context, struct failure *why),
    void *context, struct failure *why)
{
	return pool_each(settings, "services", visit, context, why);
}

uint32_t
address_ship(const struct settings *settings)
{
	return settings->subnet.network + 1;
}

char *
address_text(uint32_t address)
{
	return xasprintf(
	    "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

int
address_parse(const char *text, uint32_t *address)
{
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1)
		return -1;
	*address = ntohl(in.s_addr);
	return 0;
}
