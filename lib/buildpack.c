/* SPDX-License-Identifier: MIT */
#include "lib/buildpack.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <yaml.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/sandbox.h"

enum {
	PROCFILE_MAX = 64 * 1024,
	OUTPUT_MAX = 64 * 1024,
	WALL_MS = 10000,
	CPU_S = 5,
	PROCESSES = 32
};

static const char *const order[] = {"nodejs", "python", "ruby", "static"};

static bool
has(const char *dir, const char *file)
{
	auto_free char *path = xasprintf("%s/%s", dir, file);

	return path_exists(path);
}

/* Run bin/program of the pack on tree, in a sandbox. */
static int
run(const char *dir, const char *program, const char *tree, struct sandbox_result *result,
    struct failure *why)
{
	const struct sandbox_place places[] = {
	    {SANDBOX_BIND, dir, "/buildpack"},
	    {SANDBOX_BIND, tree, "/build"},
	};
	auto_free char *path = xasprintf("/buildpack/bin/%s", program);
	const char *argv[] = {path, "/build", NULL};
	static const char *const env[] = {
	    "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", NULL};
	const struct sandbox_run job = {
	    .argv = argv,
	    .env = env,
	    .cpu_s = CPU_S,
	    .wall_ms = WALL_MS,
	    .processes = PROCESSES,
	    .output_bytes = OUTPUT_MAX,
	};
	struct sandbox *sandbox = sandbox_new(SANDBOX_SYSTEM, places, 2, why);
	int status = -1;

	if (sandbox != NULL)
		status = sandbox_run(sandbox, &job, result, why);
	sandbox_free(sandbox);
	return status;
}

int
buildpack_find(
    const struct settings *settings, const char *tree, struct buildpack *pack, struct failure *why)
{
	auto_free char *tried = xstrdup("");

	*pack = (struct buildpack){0};
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		auto_free char *dir = xasprintf("%s/buildpacks/%s", settings->share, order[i]);
		struct sandbox_result result = {0};
		char *longer;
		bool found;

		if (!has(dir, "bin/detect"))
			continue;
		if (run(dir, "detect", tree, &result, why) == -1)
			return -1;
		found = result.end == SANDBOX_EXITED && result.value == 0;
		sandbox_result_clear(&result);
		if (found) {
			pack->name = xstrdup(order[i]);
			pack->stack = has(dir, "packages") || has(dir, "bin/stack");
			pack->source_only = has(dir, "source-only");
			pack->dir = steal(dir);
			return 0;
		}
		longer = xasprintf("%s%s%s", tried, *tried == '\0' ? "" : ", ", order[i]);
		free(tried);
		tried = longer;
	}
	return fail(why, EX_CONFIG, "no buildpack knows this repository", "tried", tried);
}

void
buildpack_clear(struct buildpack *pack)
{
	free(pack->name);
	free(pack->dir);
	*pack = (struct buildpack){0};
}

/* The text of a regular file right in tree, without following any link; NULL if there is none. */
static char *
read_in(const char *tree, const char *name)
{
	auto_close int dir = open(tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	auto_close int fd = dir == -1 ? -1 : (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
	auto_free char *text = NULL;
	struct stat st;
	ssize_t got;

	if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || st.st_size > PROCFILE_MAX)
		return NULL;
	text = xcalloc(1, PROCFILE_MAX + 1);
	got = read(fd, text, PROCFILE_MAX);
	return got == -1 ? NULL : steal(text);
}

/* "web: command", as Heroku reads it; free() it. NULL: no such line. */
static char *
procfile_web(const char *tree)
{
	auto_free char *text = read_in(tree, "Procfile");
	char *rest = text, *line;

	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		if (strncmp(line, "web:", 4) != 0)
			continue;
		line += 4 + strspn(line + 4, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (*line != '\0')
			return xstrdup(line);
	}
	return NULL;
}

/* The scalar of key in the mapping node, or the mapping under it. */
static const yaml_node_t *
lookup(yaml_document_t *document, const yaml_node_t *node, const char *key)
{
	if (node == NULL || node->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = yaml_document_get_node(document, pair->key);

		if (name->type == YAML_SCALAR_NODE &&
		    strcmp((const char *)name->data.scalar.value, key) == 0)
			return yaml_document_get_node(document, pair->value);
	}
	return NULL;
}

/* default_process_types.web of the YAML that bin/release prints; free() it. */
static char *
release_web(const char *text, size_t length)
{
	yaml_parser_t parser;
	yaml_document_t document;
	const yaml_node_t *node;
	char *web = NULL;

	if (!yaml_parser_initialize(&parser))
		return NULL;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
	if (yaml_parser_load(&parser, &document)) {
		node = lookup(
		    &document, yaml_document_get_root_node(&document), "default_process_types");
		node = lookup(&document, node, "web");
		if (node != NULL && node->type == YAML_SCALAR_NODE && node->data.scalar.length > 0)
			web = xstrndup(
			    (const char *)node->data.scalar.value, node->data.scalar.length);
		yaml_document_delete(&document);
	}
	yaml_parser_delete(&parser);
	return web;
}

char *
buildpack_web(const struct buildpack *pack, const char *tree, struct failure *why)
{
	struct sandbox_result result = {0};
	char *web = procfile_web(tree);

	if (web != NULL)
		return web;
	if (has(pack->dir, "bin/release")) {
		if (run(pack->dir, "release", tree, &result, why) == -1)
			return NULL;
		if (result.end == SANDBOX_EXITED && result.value == 0)
			web = release_web(result.output, result.output_length);
		sandbox_result_clear(&result);
	}
	if (web == NULL)
		(void)fail(why, EX_CONFIG, "nothing to start", pack->name,
		    "no web line in a Procfile, and the buildpack names no command");
	return web;
}
