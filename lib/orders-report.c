/* SPDX-License-Identifier: MIT */
#include "lib/orders-report.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/failure.h"
#include "lib/own.h"

enum { LINE_MAX_NUMBER = 100000000, WORDS_MAX = 1024 };

struct judge {
	const struct orders_names *names;
	const char *next, *end; /* of the report */
	json_t *outcome, *fields, *env, *settings;
	char *layer; /* shown name of the layer that began last */
	char *port; /* PORT, and */
	char *port_from; /* the layer that set it */
	bool ended, garbled;
};

void
orders_problem(json_t *outcome, int status, const char *file, long line, const char *text)
{
	json_t *problems = json_object_get(outcome, "problems");
	auto_free char *raw =
	    line > 0 ? xasprintf("%s:%ld: %s", file, line, text) : xasprintf("%s: %s", file, text);
	auto_free char *whole = failure_printable(raw);
	json_t *known;
	size_t i;

	json_array_foreach(
	    problems, i, known) if (strcmp(json_string_value(known), whole) == 0) return;
	(void)json_array_append_new(problems, json_string(whole));
	if (json_integer_value(json_object_get(outcome, "status")) == 0)
		(void)json_object_set_new(outcome, "status", json_integer(status));
}

/* Take `.` and `..` out of a relative path, in place; what leads above its beginning stays. */
static void
normalise(char *path)
{
	char *to = path, *rest = path, *part;
	size_t depth = 0;

	while ((part = strsep(&rest, "/")) != NULL) {
		size_t length = strlen(part);

		if (length == 0 || strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0 && depth > 0) {
			while (to > path && *--to != '/')
				continue;
			depth--;
			continue;
		}
		if (to > path)
			*to++ = '/';
		memmove(to, part, length);
		to += length;
		depth += strcmp(part, "..") != 0;
	}
	*to = '\0';
}

/* The name that people know for a file inside the sandbox; free() it. */
static char *
shown(const struct judge *judge, const char *file)
{
	static const char headquarters[] = ORDERS_HEADQUARTERS "/", ship[] = ORDERS_SHIP "/";
	const char *slash = strrchr(judge->names->orders, '/');
	auto_free char *below = NULL;

	if (strncmp(file, ship, strlen(ship)) == 0)
		return xasprintf("%s/%s", judge->names->etc, file + strlen(ship));
	if (strncmp(file, headquarters, strlen(headquarters)) == 0)
		below = xstrdup(file + strlen(headquarters));
	else if (*file == '/')
		return xstrdup(file);
	else if (slash == NULL)
		below = xstrdup(file);
	else /* as `source ../x` names it, from where the orders file starts */
		below = xasprintf(
		    "%.*s/%s", (int)(slash - judge->names->orders), judge->names->orders, file);
	normalise(below);
	return xasprintf("%s%s", judge->names->headquarters, below);
}

static void
problem(struct judge *judge, const char *file, long line, const char *text)
{
	auto_free char *name = shown(judge, file);

	orders_problem(judge->outcome, EX_CONFIG, name, line, text);
}

/* The next field; "" and judge->garbled where the report ends too early. */
static const char *
field(struct judge *judge)
{
	const char *start = judge->next;
	const char *nul =
	    start == judge->end ? NULL : memchr(start, '\0', (size_t)(judge->end - start));

	if (nul == NULL) {
		judge->garbled = true;
		return "";
	}
	judge->next = nul + 1;
	return start;
}

static long
number(struct judge *judge, long high)
{
	const char *bad = NULL, *text = field(judge);
	long value = (long)strtonum(text, 0, high, &bad);

	judge->garbled = judge->garbled || bad != NULL;
	return value;
}

static bool
is_name(const char *text)
{
	if (!isalpha((unsigned char)*text) && *text != '_')
		return false;
	while (isalnum((unsigned char)*text) || *text == '_')
		text++;
	return *text == '\0';
}

/* The line on which text last sets name, or 0. */
static long
line_of(const char *text, const char *name)
{
	size_t length = strlen(name);
	long line = 1, found = 0;

	for (const char *next = text; *next != '\0'; next++) {
		bool begins =
		    next == text || (!isalnum((unsigned char)next[-1]) && next[-1] != '_');

		if (begins && strncmp(next, name, length) == 0 && next[length] == '=')
			found = line;
		line += *next == '\n';
	}
	return found;
}

static void
orders_file_problem(struct judge *judge, const char *variable, const char *text)
{
	auto_free char *file = xasprintf("%s%s", judge->names->headquarters, judge->names->orders);

	orders_problem(judge->outcome, EX_CONFIG, file,
	    variable == NULL ? 0 : line_of(judge->names->text, variable), text);
}

/* Set a variable in object (env or settings). */
static void
variable(struct judge *judge, json_t *object, const char *name, const char *value)
{
	json_t *string = json_string(value);
	auto_free char *text = NULL;

	if (string == NULL) {
		text = xasprintf("%s is not UTF-8", name);
		orders_file_problem(judge, name, text);
		return;
	}
	(void)json_object_set_new(object, name, string);
}

static void
setting(struct judge *judge)
{
	const char *name = field(judge), *value = field(judge);

	if (judge->garbled || !is_name(name))
		judge->garbled = true;
	else
		variable(judge, judge->settings, name, value);
}

static void
autodeploy(struct judge *judge, const char *file, long line, const char *const *words, long count)
{
	const char *bad = NULL;

	if (count != 1)
		bad = "autodeploy takes one repository, URL or URL#REF";
	else if (*words[0] == '\0')
		bad = "autodeploy: empty repository";
	else if (json_object_get(judge->fields, "autodeploy") != NULL)
		bad = "autodeploy is there twice";
	else if (json_object_set_new(judge->fields, "autodeploy", json_string(words[0])) == -1)
		bad = "autodeploy: not UTF-8";
	if (bad != NULL)
		problem(judge, file, line, bad);
}

static void
command(struct judge *judge)
{
	const char *words[WORDS_MAX];
	const char *name = field(judge), *file = field(judge);
	long line = number(judge, LINE_MAX_NUMBER), count = number(judge, WORDS_MAX);

	for (long i = 0; i < count && !judge->garbled; i++)
		words[i] = field(judge);
	if (judge->garbled)
		return;
	if (strcmp(name, "autodeploy") == 0)
		autodeploy(judge, file, line, words, count);
	else if (strcmp(name, "unpublished") != 0)
		judge->garbled = true;
	else if (count != 0)
		problem(judge, file, line, "unpublished takes no words behind it");
	else
		(void)json_object_set_new(judge->fields, "unpublished", json_true());
}

static void
unknown(struct judge *judge)
{
	const char *name = field(judge), *file = field(judge);
	long line = number(judge, LINE_MAX_NUMBER);
	auto_free char *text = xasprintf("unknown command: %s", name);

	if (!judge->garbled)
		problem(judge, file, line, text);
}

static void
other_error(struct judge *judge)
{
	const char *file = field(judge);
	long line = number(judge, LINE_MAX_NUMBER);
	const char *text = field(judge);

	if (!judge->garbled)
		problem(judge, file, line, text);
}

static void
port(struct judge *judge)
{
	const char *file = field(judge), *value = field(judge);

	if (judge->garbled || (judge->port != NULL && strcmp(judge->port, value) == 0))
		return;
	free(judge->port);
	free(judge->port_from);
	judge->port = xstrdup(value);
	judge->port_from = shown(judge, file);
}

/* What env(1) prints to the end of the report. */
static void
read_environment(struct judge *judge)
{
	static const char *const own[] = {"PWD", "OLDPWD", "SHLVL", "_"}; /* the shell's */

	while (judge->next < judge->end && !judge->garbled) {
		const char *entry = field(judge), *equals = strchr(entry, '=');
		auto_free char *name =
		    xstrndup(entry, equals == NULL ? 0 : (size_t)(equals - entry));
		bool wanted = is_name(name); /* exported functions have names that are none */

		if (strcmp(entry, "error") == 0) {
			other_error(judge);
			continue;
		}
		for (size_t i = 0; i < sizeof own / sizeof *own; i++)
			wanted = wanted && strcmp(name, own[i]) != 0;
		if (equals != NULL && wanted && !judge->garbled)
			variable(judge, judge->env, name, equals + 1);
	}
}

static void
read_report(struct judge *judge)
{
	while (judge->next < judge->end && !judge->garbled && !judge->ended) {
		const char *word = field(judge);

		if (strcmp(word, "begin") == 0) {
			free(judge->layer);
			judge->layer = shown(judge, field(judge));
		} else if (strcmp(word, "command") == 0) {
			command(judge);
		} else if (strcmp(word, "unknown") == 0) {
			unknown(judge);
		} else if (strcmp(word, "error") == 0) {
			other_error(judge);
		} else if (strcmp(word, "port") == 0) {
			port(judge);
		} else if (strcmp(word, "setting") == 0) {
			setting(judge);
		} else if (strcmp(word, "environment") == 0) {
			judge->ended = true;
			read_environment(judge);
		} else {
			judge->garbled = true;
		}
	}
}

/*
 * What bash itself says about a line, and after which it goes on with half of what was meant. The
 * rest of its complaints (`[: too many arguments`) is not ours to judge.
 */
static bool
is_serious(const char *text)
{
	static const char *const serious[] = {"syntax error", "unexpected EOF",
	    "not a valid identifier", "ignored null byte", "unbound variable", "bad substitution",
	    "readonly variable", "No such file or directory", "Permission denied", "cannot execute",
	    "Is a directory"};

	for (size_t i = 0; i < sizeof serious / sizeof *serious; i++)
		if (strstr(text, serious[i]) != NULL)
			return true;
	return false;
}

/* A line of standard error: is it bash's own, "FILE: line N: TEXT", and serious? */
static void
read_complaint(struct judge *judge, char *line)
{
	static const char mark[] = ": line ";
	char *at = strstr(line, mark), *text;
	char *colon = at == NULL ? NULL : strchr(at + strlen(mark), ':');
	const char *layer = judge->layer == NULL ? "orders" : judge->layer;

	if (strstr(line, "fork: ") != NULL &&
	    strstr(line, "Resource temporarily unavailable") != NULL) {
		text = xasprintf("started more than %d processes", ORDERS_PROCESSES);
		orders_problem(judge->outcome, EX_CONFIG, layer, 0, text);
		free(text);
		return;
	}
	if (strstr(line, "alloc: cannot allocate") != NULL) {
		text = xasprintf("needed more than %d MB of memory", ORDERS_MEMORY_MIB);
		orders_problem(judge->outcome, EX_CONFIG, layer, 0, text);
		free(text);
		return;
	}
	if (colon == NULL || at == line || colon[1] != ' ')
		return;
	*at = *colon = '\0';
	text = colon + 2;
	if (is_serious(text)) {
		const char *bad = NULL;
		long number = (long)strtonum(at + strlen(mark), 1, LINE_MAX_NUMBER, &bad);

		if (strncmp(text, "warning: ", 9) == 0)
			text += 9;
		if (bad == NULL)
			problem(judge, line, number, text);
	}
}

/* All lines of standard error; the last one that is not empty, printable, is kept: free() it. */
static char *
read_errors(struct judge *judge, const struct sandbox_result *result)
{
	auto_free char *copy = xstrdup(result->errors), *last = NULL;
	char *rest = copy, *line;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (*line == '\0')
			continue;
		free(last);
		last = failure_printable(line);
		read_complaint(judge, line);
	}
	return steal(last);
}

/* Which limit ended it, if one did. */
static void
judge_limits(struct judge *judge, const struct sandbox_result *result)
{
	const char *layer = judge->layer == NULL ? judge->names->orders : judge->layer;
	auto_free char *text = NULL;
	int status = EX_CONFIG;

	if (result->end == SANDBOX_CPU) {
		text = xasprintf("used more than %d s of processor time", ORDERS_CPU_S);
	} else if (result->end == SANDBOX_WALL) {
		text = xasprintf("not done within %d s", ORDERS_WALL_MS / 1000);
		status = EX_TEMPFAIL; /* a busy ship looks the same */
	} else if (result->end == SANDBOX_MEMORY) {
		text = xasprintf("needed more than %d MB of memory", ORDERS_MEMORY_MIB);
	} else if (result->end == SANDBOX_OUTPUT) {
		text = xasprintf("printed more than %d MB", ORDERS_OUTPUT_MIB);
	} else if (result->end == SANDBOX_KILLED) {
		text = xasprintf("ended by signal %d", result->value);
	}
	if (text != NULL)
		orders_problem(judge->outcome, status, layer, 0, text);
}

static void
judge_port(struct judge *judge)
{
	const char *value = json_string_value(json_object_get(judge->settings, "PORT")),
		   *bad = NULL;
	const char *from = judge->port_from == NULL ? judge->names->orders : judge->port_from;
	auto_free char *orders =
	    xasprintf("%s%s", judge->names->headquarters, judge->names->orders);
	auto_free char *text = NULL;

	value = value == NULL ? "" : value;
	(void)strtonum(value, 1, 65535, &bad);
	/* strtonum takes " 80" and "+80" too, which would travel on as they are. */
	if (bad == NULL && strspn(value, "0123456789") == strlen(value)) {
		(void)json_object_set_new(judge->env, "PORT", json_string(value));
		return;
	}
	text = xasprintf(
	    "PORT must be a number from 1 to 65535: %s", *value == '\0' ? "(empty)" : value);
	orders_problem(judge->outcome, EX_CONFIG, from,
	    strcmp(from, orders) == 0 ? line_of(judge->names->text, "PORT") : 0, text);
}

/* What can only be said of a whole evaluation. */
static void
judge_whole(struct judge *judge)
{
	judge_port(judge);
	if (json_array_size(json_object_get(judge->outcome, "problems")) == 0 &&
	    json_object_get(judge->fields, "autodeploy") == NULL &&
	    json_object_get(judge->fields, "unpublished") == NULL)
		orders_file_problem(judge, NULL, "neither autodeploy nor unpublished");
}

json_t *
orders_report_judge(const struct sandbox_result *result, const struct orders_names *names)
{
	struct judge judge = {.names = names,
	    .next = result->report,
	    .end = result->report + result->report_length,
	    .outcome = json_pack(
		"{s:{s:{},s:{}},s:[],s:i}", "fields", "env", "settings", "problems", "status", 0)};
	auto_free char *last = NULL, *text = NULL;

	judge.fields = json_object_get(judge.outcome, "fields");
	judge.env = json_object_get(judge.fields, "env");
	judge.settings = json_object_get(judge.fields, "settings");
	read_report(&judge);
	last = read_errors(&judge, result);
	judge_limits(&judge, result);
	/* Nobody else says that the environment came whole. */
	if (result->end != SANDBOX_EXITED || result->value != 0)
		judge.ended = false;
	if (judge.ended && !judge.garbled) {
		judge_whole(&judge);
	} else if (json_array_size(json_object_get(judge.outcome, "problems")) == 0) {
		text = xasprintf("came to no end that can be read%s%s",
		    last == NULL ? "" : "; it last said: ", last == NULL ? "" : last);
		orders_problem(judge.outcome, EX_CONFIG,
		    judge.layer == NULL ? names->orders : judge.layer, 0, text);
	}
	free(judge.layer);
	free(judge.port);
	free(judge.port_from);
	return judge.outcome;
}
