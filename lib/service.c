/* SPDX-License-Identifier: MIT */
#include "lib/service.h"

#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/filter.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/repository.h"
#include "lib/state.h"

/* Equal, where both may be missing. */
static bool
same(const char *left, const char *right)
{
	return strcmp(left == NULL ? "" : left, right == NULL ? "" : right) == 0;
}

/* A service without a repository has no commit; its container's name then has d000000. */
static const char *
commit_of(const char *text)
{
	return text == NULL || strcmp(text, "d000000") == 0 ? "" : text;
}

/* Nothing to do for a record that failed before it came here: what it says is on file. */
static bool
failure_settled(const json_t *record, const json_t *wanted)
{
	const json_t *error = json_object_get(record, "error");
	const json_t *status = json_object_get(error, "status");

	return json_integer_value(status) != EX_TEMPFAIL &&
	       json_equal(error, json_object_get(wanted, "error")) &&
	       same(record_string(record, "orders_id", NULL),
		   record_string(wanted, "orders_id", NULL));
}

/*
 * True if deploying record again would change nothing: this very version is what was wanted last,
 * and it serves or has failed for a reason that does not pass by itself.
 */
static bool
settled(const struct settings *settings, const json_t *record)
{
	auto_failure struct failure ignored = {0};
	const char *order = record_order(record), *id = record_string(record, "orders_id", NULL);
	const char *commit = commit_of(record_string(record, "service", "commit", NULL));
	auto_json json_t *serving = state_load(settings, order, "serving.json", &ignored);
	auto_json json_t *wanted = state_load(settings, order, "wanted.json", &ignored);
	const json_t *error = json_object_get(wanted, "error");

	if (record_flag(record, "gone"))
		return serving == NULL;
	if (wanted != NULL && record_failed(record))
		return failure_settled(record, wanted);
	if (wanted == NULL || id == NULL || !same(id, record_string(wanted, "orders_id", NULL)) ||
	    !same(commit, commit_of(record_string(wanted, "service", "commit", NULL))))
		return false;
	if (error != NULL)
		return json_integer_value(json_object_get(error, "status")) != EX_TEMPFAIL;
	return serving != NULL && same(id, record_string(serving, "orders_id", NULL)) &&
	       same(commit, commit_of(record_string(serving, "commit", NULL)));
}

static void
add_service(json_t *record, const struct url *url, const struct tree *tree)
{
	const char *ref = tree->ref != NULL ? tree->ref : url->ref;
	json_t *service = json_object();

	(void)json_object_set_new(service, "url", json_string(url->shown));
	if (ref != NULL)
		(void)json_object_set_new(service, "ref", json_string(ref));
	if (tree->commit != NULL) {
		(void)json_object_set_new(service, "commit", json_string(tree->commit));
		(void)json_object_set_new(service, "dir", json_string(tree->dir));
	}
	(void)json_object_set_new(record, "service", service);
}

/* FILTER_PASS, FILTER_FAILED; FILTER_DROP if somebody is at it already. */
static int
sync_service(
    const struct service_sync *sync, json_t *record, const char *autodeploy, struct failure *why)
{
	auto_url struct url url = {0};
	auto_tree struct tree tree = {0};
	auto_free char *home = NULL;
	auto_close int asking = -1;
	struct repository repository = {.settings = sync->settings,
	    .url = &url,
	    .size_mib = sync->limits->size_mib,
	    .pass_over = sync->unsettled,
	    .deadline_ms = state_now_ms() + sync->limits->time_s * 1000LL};
	int result;

	if (url_parse(&url, autodeploy, sync->settings->allow_file_urls, why) == -1)
		return FILTER_FAILED;
	home = repository_home(sync->settings, &url);
	repository.home = home;
	if (sync->unsettled) {
		/* One question at a time for each order: a remote that hangs keeps one worker,
		 * however many pulses go by. */
		auto_free char *word = order_word(record_order(record));
		auto_free char *path = xasprintf("%s/asking-%s", home, word);

		asking = lock_take(path, false, why);
		if (asking == -1 && why->code == EX_TEMPFAIL)
			return FILTER_DROP;
		if (asking == -1)
			return FILTER_FAILED;
	}
	result = repository_sync(&repository, &tree, why);
	if (result == 1)
		return FILTER_DROP;
	add_service(record, &url, &tree);
	if (result == -1)
		(void)json_object_set_new(record, "state", json_string("stale"));
	return result;
}

int
service_step(json_t *record, void *context, struct failure *why)
{
	const struct service_sync *sync = context;
	const char *order = record_order(record);
	const char *autodeploy = record_string(record, "autodeploy", NULL);
	int result = FILTER_PASS;

	if (order == NULL || order_check(order, why) == -1) {
		/* An error record from the headquarters may carry a name that is none. */
		if (record_failed(record)) {
			failure_clear(why);
			return FILTER_PASS;
		}
		return order == NULL ? fail(why, EX_CONFIG, "a record without an order", NULL, NULL)
				     : -1;
	}
	if (autodeploy != NULL && !record_failed(record))
		result = sync_service(sync, record, autodeploy, why);
	if (result == FILTER_PASS && sync->unsettled && settled(sync->settings, record))
		return FILTER_DROP;
	return result;
}
