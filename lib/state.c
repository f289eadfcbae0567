/* SPDX-License-Identifier: MIT */
#include "lib/state.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"

enum { STATE_MAX = 16 * 1024 * 1024 };

char *
state_path(const struct settings *settings, const char *order, const char *file)
{
	auto_free char *word = order_word(order);

	return xasprintf("%s/current_orders/%s%s%s", settings->root, word, file == NULL ? "" : "/",
	    file == NULL ? "" : file);
}

json_t *
state_load(const struct settings *settings, const char *order, const char *file, struct failure *why)
{
	auto_free char *path = state_path(settings, order, file);
	size_t length = 0;
	auto_free char *text = file_read(path, STATE_MAX, &length, why);
	json_error_t error;
	json_t *object;

	if (text == NULL)
		return NULL;
	object = json_loadb(text, length, 0, &error);
	if (!json_is_object(object)) {
		json_decref(object);
		(void)fail(why, EX_CONFIG, "not a state file (remove it to have it made anew)", path,
		    object == NULL ? error.text : "not a JSON object");
		return NULL;
	}
	return object;
}

int
state_save(const struct settings *settings, const char *order, const char *file,
    const json_t *object, struct failure *why)
{
	auto_free char *path = state_path(settings, order, file);
	auto_free char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	auto_free char *text = json_dumps(object, JSON_INDENT(1));

	if (text == NULL)
		return fail(why, EX_SOFTWARE, "cannot print", path, NULL);
	if (dir_make(folder, 0755, why) == -1)
		return -1;
	return file_replace(path, text, strlen(text), 0600, why);
}

int
state_remove(const struct settings *settings, const char *order, const char *file, struct failure *why)
{
	auto_free char *path = state_path(settings, order, file);

	return file_remove(path, why);
}

void
state_wanted(const struct settings *settings, const json_t *record, const struct failure *why)
{
	auto_failure struct failure unsaved = {0};
	auto_json json_t *copy = json_copy((json_t *)(uintptr_t)record);
	const char *order = record_order(record);

	if (order == NULL)
		return;
	if (why != NULL && why->code != 0)
		record_fail(copy, why);
	if (state_save(settings, order, "wanted.json", copy, &unsaved) == -1)
		(void)failure_report(&unsaved);
}

int
state_each(const struct settings *settings,
    int (*visit)(const char *order, void *context, struct failure *why), void *context,
    struct failure *why)
{
	auto_free char *path = xasprintf("%s/current_orders", settings->root);
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL && errno == ENOENT)
		return 0;
	if (dir == NULL)
		return fail(why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		auto_free char *order = NULL;
		int result;

		if (entry->d_name[0] == '.' || (order = order_of_word(entry->d_name)) == NULL)
			continue;
		result = visit(order, context, why);
		if (result != 0)
			return result;
	}
	return 0;
}

long long
state_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

char *
state_boot_id(void)
{
	auto_failure struct failure ignored = {0};
	char *id = file_read("/proc/sys/kernel/random/boot_id", 128, NULL, &ignored);

	if (id == NULL)
		return xstrdup("unknown");
	id[strcspn(id, "\n")] = '\0';
	return id;
}
