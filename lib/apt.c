/* SPDX-License-Identifier: MIT */
#include "lib/apt.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/run.h"

enum { TEXT_MAX = 4 * 1024 * 1024 };

static const char sources_list[] = "/etc/apt/sources.list";
static const char sources_folder[] = "/etc/apt/sources.list.d";

struct gathering {
	const struct apt *apt;
	FILE *sources, *keys;
	size_t count;
};

/* True if word is one of the words of list. */
static bool
has_word(const char *list, const char *word)
{
	auto_free char *copy = xstrdup(list);
	char *rest = copy, *next;

	while ((next = strsep(&rest, " \t\n")) != NULL)
		if (strcasecmp(next, word) == 0)
			return true;
	return false;
}

/*
 * The distribution's own suites and nothing that others name like one: codename, codename-updates,
 * -security (or /updates), with the component that only the distribution has.
 */
static bool
is_own(const struct apt *apt, const char *uri, const char *suite, const char *components)
{
	static const char *const tails[] = {"", "-updates", "-security", "/updates", "-backports"};
	size_t length = strlen(apt->codename);

	if (strncmp(suite, apt->codename, length) != 0 || !has_word(components, "main"))
		return false;
	/* Neither of the two can be asked from within a container. */
	if (strncmp(uri, "cdrom:", 6) == 0 || strncmp(uri, "file:", 5) == 0 ||
	    strncmp(uri, "copy:", 5) == 0)
		return false;
	for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
		if (strcmp(suite + length, tails[i]) == 0)
			return true;
	return false;
}

/* An entry, each word list separated by blanks; key is a file or "". */
static void
add(struct gathering *to, const char *uris, const char *suites, const char *components,
    const char *key)
{
	auto_free char *some_uris = xstrdup(uris);
	char *uri_rest = some_uris, *uri;

	while ((uri = strsep(&uri_rest, " \t\n")) != NULL) {
		auto_free char *some_suites = xstrdup(suites);
		char *suite_rest = some_suites, *suite;

		while (*uri != '\0' && (suite = strsep(&suite_rest, " \t\n")) != NULL) {
			if (!is_own(to->apt, uri, suite, components))
				continue;
			to->count++;
			if (*key == '/')
				(void)fprintf(to->sources, "deb [signed-by=%s] %s %s %s\n", key,
				    uri, suite, components);
			else
				(void)fprintf(
				    to->sources, "deb %s %s %s\n", uri, suite, components);
			if (*key == '/')
				(void)fprintf(to->keys, "%s\n", key);
		}
	}
}

/* "deb [signed-by=/key arch=amd64] uri suite component..." */
static void
add_line(struct gathering *to, char *line)
{
	auto_free char *key = xstrdup("");
	const char *suite, *uri;
	char *next = line + strspn(line, " \t");

	next[strcspn(next, "#")] = '\0';
	if (strncmp(next, "deb", 3) != 0 || strchr(" \t", next[3]) == NULL || next[3] == '\0')
		return;
	next += 3 + strspn(next + 3, " \t");
	if (*next == '[') {
		char *options = next + 1, *option;

		next = strchr(next, ']');
		if (next == NULL)
			return;
		*next++ = '\0';
		while ((option = strsep(&options, " \t")) != NULL)
			if (strncasecmp(option, "signed-by=", 10) == 0) {
				free(key);
				key = xstrdup(option + 10);
			}
		next += strspn(next, " \t");
	}
	uri = strsep(&next, " \t");
	if (next == NULL)
		return;
	next += strspn(next, " \t");
	suite = strsep(&next, " \t");
	if (next != NULL)
		add(to, uri, suite, next + strspn(next, " \t"), key);
}

/* The value of a field of a deb822 stanza, its lines joined by blanks; "" if there is none. free()
 * it. */
static char *
field(const char *stanza, const char *name)
{
	auto_free char *copy = xstrdup(stanza);
	char *rest = copy, *line, *value = xstrdup("");
	size_t length = strlen(name);
	bool within = false;

	while ((line = strsep(&rest, "\n")) != NULL) {
		char *longer;

		if (line[0] == '#')
			continue;
		if (line[0] != ' ' && line[0] != '\t')
			within = strncasecmp(line, name, length) == 0 && line[length] == ':';
		if (!within)
			continue;
		line += line[0] == ' ' || line[0] == '\t' ? 0 : length + 1;
		longer = xasprintf(
		    "%s%s%s", value, *value == '\0' ? "" : " ", line + strspn(line, " \t"));
		free(value);
		value = longer;
	}
	return value;
}

static void
add_stanza(struct gathering *to, const char *stanza)
{
	auto_free char *types = field(stanza, "Types");
	auto_free char *uris = field(stanza, "URIs");
	auto_free char *suites = field(stanza, "Suites");
	auto_free char *components = field(stanza, "Components");
	auto_free char *key = field(stanza, "Signed-By");
	auto_free char *enabled = field(stanza, "Enabled");

	if (has_word(types, "deb") && !has_word(enabled, "no"))
		add(to, uris, suites, components, key);
}

static int
add_file(struct gathering *to, const char *path, struct failure *why)
{
	auto_free char *text = file_read(path, TEXT_MAX, NULL, why);
	const char *dot = strrchr(path, '.');
	char *rest = text, *next;

	if (text == NULL)
		return why->code == 0 ? 0 : -1;
	if (strcmp(dot, ".list") == 0) {
		while ((next = strsep(&rest, "\n")) != NULL)
			add_line(to, next);
		return 0;
	}
	while ((next = rest) != NULL && *next != '\0') {
		char *end = strstr(next, "\n\n");

		rest = end == NULL ? NULL : end + 2;
		if (end != NULL)
			end[1] = '\0';
		add_stanza(to, next);
	}
	return 0;
}

static int
is_source(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot != NULL && (strcmp(dot, ".list") == 0 || strcmp(dot, ".sources") == 0);
}

static int
gather(struct gathering *to, struct failure *why)
{
	struct dirent **entries = NULL;
	int result = add_file(to, sources_list, why);
	int count = scandir(sources_folder, &entries, is_source, alphasort);

	for (int i = 0; i < count; i++) {
		auto_free char *path = xasprintf("%s/%s", sources_folder, entries[i]->d_name);

		if (result == 0)
			result = add_file(to, path, why);
		free(entries[i]);
	}
	free(entries);
	return result;
}

/* Lines such as Acquire::http::Proxy "http://cache:3142"; a cache on the ship itself is localship.
 */
static int
load_proxies(struct apt *apt, struct failure *why)
{
	static const char *const argv[] = {"apt-config", "dump", NULL};
	const struct run run = {.argv = argv, .limit_ms = 30000, .output_limit = TEXT_MAX};
	auto_free char *text = NULL;
	char *rest, *line;
	size_t length;
	FILE *out;

	if (run_program(&run, &text, why) == -1)
		return -1;
	out = open_memstream(&apt->proxies, &length);
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *local;

		if (strncasecmp(line, "Acquire::http", 13) != 0 ||
		    strcasestr(line, "::proxy") == NULL || strcasestr(line, "proxy-auto") != NULL)
			continue;
		if ((local = strstr(line, "//localhost:")) != NULL)
			(void)fprintf(
			    out, "%.*s//localship:%s\n", (int)(local - line), line, local + 12);
		else if ((local = strstr(line, "//127.0.0.1:")) != NULL)
			(void)fprintf(
			    out, "%.*s//localship:%s\n", (int)(local - line), line, local + 12);
		else
			(void)fprintf(out, "%s\n", line);
	}
	(void)fclose(out);
	return 0;
}

static void
load_release(struct apt *apt)
{
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read("/etc/os-release", TEXT_MAX, NULL, &ignored);
	char *rest = text, *line, id[64] = "linux", codename[64] = "";

	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		(void)sscanf(line, "ID=%63[a-z]", id);
		(void)sscanf(line, "VERSION_CODENAME=%63[a-z]", codename);
	}
	apt->id = xstrdup(id);
	apt->codename = xstrdup(codename);
}

int
apt_load(struct apt *apt, struct failure *why)
{
	struct gathering to = {.apt = apt};
	size_t sources_length, keys_length;
	int result;

	*apt = (struct apt){0};
	load_release(apt);
	if (*apt->codename == '\0' ||
	    (strcmp(apt->id, "debian") != 0 && strcmp(apt->id, "ubuntu") != 0))
		return fail(why, EX_CONFIG, "no base can be made on", apt->id,
		    "/etc/os-release names neither a Debian nor an Ubuntu release");
	to.sources = open_memstream(&apt->sources, &sources_length);
	to.keys = open_memstream(&apt->keys, &keys_length);
	result = gather(&to, why);
	(void)fclose(to.sources);
	(void)fclose(to.keys);
	if (result == -1 || load_proxies(apt, why) == -1)
		return -1;
	if (to.count == 0)
		return fail(why, EX_CONFIG, "no package source of the distribution", sources_list,
		    apt->codename);
	return 0;
}

void
apt_clear(struct apt *apt)
{
	free(apt->id);
	free(apt->codename);
	free(apt->sources);
	free(apt->keys);
	free(apt->proxies);
	*apt = (struct apt){0};
}
