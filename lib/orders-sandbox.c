/* SPDX-License-Identifier: MIT */
#include "lib/orders-sandbox.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/orders-report.h"
#include "lib/own.h"

#define SHARED "/.shared"
#define PROGRAMS "/.programs"

/*
 * What orders may call, besides what bash has itself: programs that read and print, the same few on
 * every ship, so that an order does not come out differently where somebody installed more.
 */
static const char *const programs[] = {"[", "awk", "base32", "base64", "basename", "bash", "cat",
    "cksum", "cmp", "comm", "cut", "date", "diff", "dirname", "echo", "egrep", "env", "expand",
    "expr", "factor", "false", "fgrep", "fmt", "fold", "grep", "head", "hostname", "id", "join",
    "jq", "ls", "md5sum", "nl", "numfmt", "od", "paste", "printenv", "printf", "pwd", "readlink",
    "realpath", "rev", "sed", "seq", "sh", "sha1sum", "sha256sum", "sha512sum", "shuf", "sleep",
    "sort", "stat", "tac", "tail", "tee", "test", "timeout", "tr", "true", "tsort", "tty", "uname",
    "unexpand", "uniq", "wc", "which", "whoami", "xargs", "yes"};

/* A growing list of places whose strings it owns. */
struct places {
	struct sandbox_place *all;
	size_t count;
};

static void
places_clear(struct places *places)
{
	for (size_t i = 0; i < places->count; i++) {
		free((void *)(uintptr_t)places->all[i].from);
		free((void *)(uintptr_t)places->all[i].to);
	}
	free(places->all);
}

#define auto_places __attribute__((cleanup(places_clear)))

/* Takes from and to. */
static void
place(struct places *places, enum sandbox_kind kind, char *from, char *to)
{
	places->all = xreallocarray(places->all, places->count + 1, sizeof *places->all);
	places->all[places->count++] = (struct sandbox_place){kind, from, to};
}

/* The pieces of a view below the directory `to` inside. */
static void
place_view(struct places *places, const struct view *view, const char *top, const char *to)
{
	for (size_t i = 0; i < view->count; i++) {
		auto_free char *from = xasprintf("%s/%s", top, view->paths[i]);
		char target[PATH_MAX] = "";
		bool link = view->kinds[i] == VIEW_LINK;

		if (link && readlink(from, target, sizeof target - 1) == -1)
			continue;
		place(places, link ? SANDBOX_LINK : SANDBOX_BIND, xstrdup(link ? target : from),
		    xasprintf("%s/%s", to, view->paths[i]));
	}
}

/* Links in /usr/bin to the programs that there are, beyond Debian's alternatives. */
static void
place_programs(struct places *places)
{
	static const char bin[] = "/usr/bin/";

	place(places, SANDBOX_BIND, xstrdup("/usr/bin"), xstrdup(PROGRAMS));
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		auto_free char *path = xasprintf("%s%s", bin, programs[i]);
		auto_free char *real = realpath(path, NULL);

		if (real == NULL)
			continue;
		place(places, SANDBOX_LINK,
		    strncmp(real, bin, strlen(bin)) == 0
			? xasprintf("%s/%s", PROGRAMS, real + strlen(bin))
			: xstrdup(real),
		    steal(path));
	}
}

char *
orders_policy(const struct settings *settings)
{
	return xasprintf(
	    "STARPHLEET_PULSE=%d\nSTARPHLEET_DRAINSTOP_WAIT=%d\nSTARPHLEET_BUILDS=%d\n",
	    settings->pulse_s, settings->drain_s, settings->builds);
}

struct sandbox *
orders_sandbox(const struct orders *orders, struct failure *why)
{
	auto_places struct places places = {0};

	place_programs(&places);
	place(&places, SANDBOX_BIND, xasprintf("%s/orders", orders->settings->share),
	    xstrdup(ORDERS_PRELUDE));
	place_view(&places, &orders->shared, orders->top, SHARED);
	for (size_t i = 0; i < orders->layer_count; i++)
		place(&places, SANDBOX_TEXT, xstrdup(orders->layers[i].from),
		    xstrdup(orders->layers[i].to));
	/* Each run lays its own over it. */
	place(&places, SANDBOX_TEXT, xstrdup(""), xstrdup(ORDERS_HEADQUARTERS "/.empty"));
	return sandbox_new(SANDBOX_BARE, places.all, places.count, why);
}

/* One layer in the script that bash gets. Takes path. */
static void
script_layer(FILE *script, char *path)
{
	fputs("__starphleet_begin '", script);
	for (const char *next = path; *next != '\0'; next++)
		fputs(*next == '\'' ? "'\\''" : (const char[]){*next, '\0'}, script);
	fputs("'\n. \"$__starphleet_file\"\n__starphleet_layer \"$?\"\n", script);
	free(path);
}

/* The layers in a row, not in a loop: a `break` in one of them would end it. free() it. */
static char *
make_script(const struct orders *orders, const struct orders_job *job)
{
	auto_free char *policy = orders_policy(orders->settings);
	char *text = NULL;
	size_t length;
	FILE *script = open_memstream(&text, &length);

	if (script == NULL)
		return NULL;
	fprintf(script, ". %s/prelude.bash\n%s. %s/defaults.bash\n", ORDERS_PRELUDE, policy,
	    ORDERS_PRELUDE);
	for (size_t i = 0; i < orders->shared.count; i++)
		if (strcmp(orders->shared.paths[i], ".starphleet") == 0)
			script_layer(script, xstrdup(ORDERS_HEADQUARTERS "/.starphleet"));
	for (size_t i = 0; i < orders->layer_count; i++)
		script_layer(script, xstrdup(orders->layers[i].to));
	script_layer(script, xasprintf("%s/%s", ORDERS_HEADQUARTERS, job->file));
	fputs("__starphleet_end\n", script);
	if (fclose(script) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static bool
has_piece(const struct view *view, const char *path)
{
	for (size_t i = 0; i < view->count; i++)
		if (strcmp(view->paths[i], path) == 0)
			return true;
	return false;
}

int
orders_sandbox_run(const struct orders *orders, const struct orders_job *job,
    struct sandbox_result *result, struct failure *why)
{
	auto_free char *script = make_script(orders, job);
	auto_free char *name = xasprintf("ORDERS_NAME=%s", job->order);
	auto_free char *ship = xasprintf("SHIP_NAME=%s", orders->ship);
	auto_free char *directory =
	    xasprintf("%s%s%s", ORDERS_HEADQUARTERS, *job->order == '\0' ? "" : "/", job->order);
	auto_places struct places places = {0};
	const char *const argv[] = {
	    "/usr/bin/bash", "--norc", "--noprofile", "-c", script, "orders", NULL};
	const char *const env[] = {
	    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	    "HOME=/home/ubuntu", name, ship, NULL};

	if (script == NULL)
		return fail(why, EX_TEMPFAIL, "cannot write a script", job->file, NULL);
	place_view(&places, &job->own, orders->top, ORDERS_HEADQUARTERS);
	/* What is shared lies in the sandbox already; what the order has itself comes before it. */
	for (size_t i = 0; i < orders->shared.count; i++)
		if (!has_piece(&job->own, orders->shared.paths[i]))
			place(&places, SANDBOX_LINK,
			    xasprintf("%s/%s", SHARED, orders->shared.paths[i]),
			    xasprintf("%s/%s", ORDERS_HEADQUARTERS, orders->shared.paths[i]));
	const struct sandbox_run run = {
	    .argv = argv,
	    .env = env,
	    .top = ORDERS_HEADQUARTERS,
	    .places = places.all,
	    .place_count = places.count,
	    .directory = directory,
	    .report_fd = ORDERS_REPORT_FD,
	    .cpu_s = ORDERS_CPU_S,
	    .wall_ms = ORDERS_WALL_MS,
	    .memory_bytes = (size_t)ORDERS_MEMORY_MIB << 20,
	    .processes = ORDERS_PROCESSES,
	    .output_bytes = (size_t)ORDERS_OUTPUT_MIB << 20,
	};
	return sandbox_run(orders->sandbox, &run, result, why);
}
