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

/* In this order. The first whose bin/detect knows the tree is printed; where the tree is all there
 * is to a build, what bin/release says follows at once: a sandbox more would cost 10 ms. */
static const char find_script[] =
    "tried=\n"
    "for name in nodejs python ruby static; do\n"
    "	pack=/buildpacks/$name\n"
    "	[ -x \"$pack/bin/detect\" ] || continue\n"
    "	tried=\"$tried${tried:+, }$name\"\n"
    "	\"$pack/bin/detect\" /build >/dev/null 2>&1 || continue\n"
    "	printf '%s\\n' \"$name\"\n"
    "	[ ! -e \"$pack/source-only\" ] || \"$pack/bin/release\" /build\n"
    "	exit 0\n"
    "done\n"
    "printf '%s\\n' \"$tried\"\n"
    "exit 1\n";

static const char release_script[] = "exec \"/buildpacks/$1/bin/release\" /build\n";

static bool
has(const char *dir, const char *file)
{
	auto_free char *path = xasprintf("%s/%s", dir, file);

	return path_exists(path);
}

/* Run a script on tree with the folder of all buildpacks, in a sandbox. */
static int
run(const char *packs, const char *tree, const char *script, const char *argument,
    struct sandbox_result *result, struct failure *why)
{
	const struct sandbox_place places[] = {
	    {SANDBOX_BIND, packs, "/buildpacks"},
	    {SANDBOX_BIND, tree, "/build"},
	};
	const char *argv[] = {"/bin/sh", "-c", script, "sh", argument, NULL};
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

/* What the script found: "name\nYAML". */
static void
take(const char *packs, char *text, struct buildpack *pack)
{
	char *rest = text;

	pack->name = xstrdup(strsep(&rest, "\n"));
	pack->dir = xasprintf("%s/%s", packs, pack->name);
	pack->stack = has(pack->dir, "packages") || has(pack->dir, "bin/stack");
	pack->source_only = has(pack->dir, "source-only");
	if (pack->source_only)
		pack->release = xstrdup(rest == NULL ? "" : rest);
}

int
buildpack_find(
    const struct settings *settings, const char *tree, struct buildpack *pack, struct failure *why)
{
	auto_free char *packs = xasprintf("%s/buildpacks", settings->share);
	struct sandbox_result result = {0};
	int status = run(packs, tree, find_script, NULL, &result, why);

	*pack = (struct buildpack){0};
	if (status == 0 && result.end == SANDBOX_EXITED && result.value == 0) {
		take(packs, result.output, pack);
	} else if (status == 0 && result.end == SANDBOX_EXITED && result.value == 1) {
		result.output[strcspn(result.output, "\n")] = '\0';
		status = fail(
		    why, EX_CONFIG, "no buildpack knows this repository", "tried", result.output);
	} else if (status == 0) {
		status = fail(why, EX_CONFIG, "cannot tell the buildpack", tree,
		    "bin/detect took too much time or memory");
	}
	sandbox_result_clear(&result);
	return status;
}

void
buildpack_clear(struct buildpack *pack)
{
	free(pack->name);
	free(pack->dir);
	free(pack->release);
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
	const char *slash = strrchr(pack->dir, '/');
	auto_free char *packs = xstrndup(pack->dir, (size_t)(slash - pack->dir));
	struct sandbox_result result = {0};
	char *web = procfile_web(tree);

	if (web != NULL)
		return web;
	if (pack->release != NULL) {
		web = release_web(pack->release, strlen(pack->release));
	} else if (has(pack->dir, "bin/release")) {
		if (run(packs, tree, release_script, pack->name, &result, why) == -1)
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
