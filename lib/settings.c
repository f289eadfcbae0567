/* SPDX-License-Identifier: MIT */
#include "lib/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <ini.h>

#include "lib/alloc.h"
#include "lib/own.h"

/* inih of Debian 12 reads 200 bytes at a time and takes the tail of a longer line for a line. */
enum { INI_LINE_MAX = 198 };

enum kind { PLACE, TEXT, BRIDGE, SUBNET, NUMBER, YES_NO };

/* One setting: its name in the environment; the ini file has it in lower case, without STARPHLEET_. */
struct setting {
	const char *name;
	enum kind kind;
	size_t offset;
	int low, high;
};

#define AT(member) offsetof(struct settings, member)

static const struct setting table[] = {
    {"STARPHLEET_ROOT", PLACE, AT(root), 0, 0},
    {"STARPHLEET_RUN", PLACE, AT(run), 0, 0},
    {"STARPHLEET_ETC", PLACE, AT(etc), 0, 0},
    {"LXC_ROOT", PLACE, AT(lxc_root), 0, 0},
    {"STARPHLEET_SHARED_DATA", PLACE, AT(shared_data), 0, 0},
    {"STARPHLEET_LAYERS", PLACE, AT(layers), 0, 0},
    {"STARPHLEET_SHARE", PLACE, AT(share), 0, 0},
    {"STARPHLEET_LIBEXEC", PLACE, AT(libexec), 0, 0},
    {"STARPHLEET_BRIDGE", BRIDGE, AT(bridge), 0, 0},
    {"STARPHLEET_HEADQUARTERS", TEXT, AT(headquarters), 0, 0},
    {"STARPHLEET_SUBNET", SUBNET, AT(subnet), 0, 0},
    {"STARPHLEET_SERVICES", SUBNET, AT(services), 0, 0},
    {"STARPHLEET_HTTP_PORT", NUMBER, AT(http_port), 1, 65535},
    {"STARPHLEET_HTTPS_PORT", NUMBER, AT(https_port), 1, 65535},
    {"STARPHLEET_PULSE", NUMBER, AT(pulse_s), 1, 86400},
    {"STARPHLEET_DRAINSTOP_WAIT", NUMBER, AT(drain_s), 0, 86400},
    {"STARPHLEET_BUILDS", NUMBER, AT(builds), 1, 1024},
    {"STARPHLEET_ALLOW_FILE_URLS", YES_NO, AT(allow_file_urls), 0, 0},
};

static void
set_string(struct settings *settings, const struct setting *setting, const char *value)
{
	char **member = (char **)((char *)settings + setting->offset);

	free(*member);
	*member = *value == '\0' ? NULL : xstrdup(value);
}

/* "10.83.0.0/20" */
static int
set_subnet(struct subnet *subnet, const char *value)
{
	const char *slash = strchr(value, '/'), *bad = NULL;
	auto_free char *network = slash == NULL ? NULL : xstrndup(value, (size_t)(slash - value));
	struct in_addr address;

	if (network == NULL || inet_pton(AF_INET, network, &address) != 1)
		return -1;
	subnet->prefix = (unsigned int)strtonum(slash + 1, 8, 30, &bad);
	subnet->network = ntohl(address.s_addr);
	if (bad != NULL || (subnet->network & (UINT32_MAX >> subnet->prefix)) != 0)
		return -1;
	return 0;
}

static bool
is_bridge_name(const char *value)
{
	size_t length = strlen(value);

	/* Also the nftables table's name, and part of cgroup paths; the kernel allows 15 bytes. */
	if (length < 1 || length > 15 || !isalpha((unsigned char)value[0]))
		return false;
	return strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == length;
}

/* Set one setting. NULL, or what the value should have been (free() it). */
static char *
set(struct settings *settings, const struct setting *setting, const char *value)
{
	void *member = (char *)settings + setting->offset;
	const char *bad = NULL;

	switch (setting->kind) {
	case PLACE:
		/* Spaces and colons would end up in LXC's overlay paths and mount lines. */
		if (value[0] != '/' || strpbrk(value, " :,\t\n\\\"'") != NULL)
			return xstrdup("an absolute path without blanks, colons, commas or quotes");
		set_string(settings, setting, value);
		return NULL;
	case TEXT:
		set_string(settings, setting, value);
		return NULL;
	case BRIDGE:
		if (!is_bridge_name(value))
			return xstrdup("1 to 15 letters, digits or `_`, beginning with a letter");
		set_string(settings, setting, value);
		return NULL;
	case SUBNET:
		if (set_subnet(member, value) == -1)
			return xstrdup("an IPv4 network such as 10.83.0.0/20 (/8 to /30)");
		return NULL;
	case NUMBER:
		*(int *)member = (int)strtonum(value, setting->low, setting->high, &bad);
		if (bad != NULL)
			return xasprintf("a whole number from %d to %d", setting->low, setting->high);
		return NULL;
	case YES_NO:
		if (strcmp(value, "1") != 0 && strcmp(value, "0") != 0 && *value != '\0')
			return xstrdup("1 or 0");
		*(bool *)member = *value == '1';
		return NULL;
	default:
		return NULL;
	}
}

/* The name that a setting has in the ini file; free() it. */
static char *
ini_name(const char *name)
{
	const char *prefix = "STARPHLEET_";
	char *lower = xstrdup(strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : name);

	for (char *next = lower; *next != '\0'; next++)
		*next = (char)tolower((unsigned char)*next);
	return lower;
}

struct ini {
	FILE *file;
	const char *path;
	struct settings *settings;
	struct failure *why;
	int line;
	bool too_long;
};

static char *
read_line(char *line, int room, void *context)
{
	struct ini *ini = context;
	char *got = ini->too_long ? NULL : fgets(line, room, ini->file);
	size_t length = got == NULL ? 0 : strlen(got);

	if (got == NULL)
		return NULL;
	ini->line++;
	ini->too_long = length > INI_LINE_MAX || (length > 0 && got[length - 1] != '\n' && !feof(ini->file));
	return ini->too_long ? NULL : got;
}

static int
bad_value(struct failure *why, const char *place, const char *name, const char *value, const char *wanted)
{
	auto_free char *what = xasprintf("%s: %s must be %s", place, name, wanted);

	return fail(why, EX_CONFIG, what, value, NULL);
}

static int
on_value(void *context, const char *section, const char *name, const char *value)
{
	struct ini *ini = context;
	auto_free char *place = xasprintf("%s:%d", ini->path, ini->line);

	if (ini->why->code != 0)
		return 0;
	if (strcmp(section, "starphleet") != 0) {
		(void)fail(ini->why, EX_CONFIG, place, "unknown section (only [starphleet] is known)", section);
		return 0;
	}
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		auto_free char *known = ini_name(table[i].name);
		auto_free char *wanted = NULL;

		if (strcmp(known, name) != 0)
			continue;
		wanted = set(ini->settings, &table[i], value);
		if (wanted != NULL)
			(void)bad_value(ini->why, place, name, value, wanted);
		return wanted == NULL;
	}
	(void)fail(ini->why, EX_CONFIG, place, "unknown setting", name);
	return 0;
}

static int
load_ini(struct settings *settings, struct failure *why)
{
	const char *named = getenv("STARPHLEET_INI");
	const char *path = named == NULL ? SYSCONFDIR "/starphleet/starphleet.ini" : named;
	auto_fclose FILE *file = fopen(path, "re");
	struct ini ini = {.file = file, .path = path, .settings = settings, .why = why};
	auto_free char *place = NULL;
	int result;

	if (file == NULL && errno == ENOENT && named == NULL)
		return 0;
	if (file == NULL)
		return fail(why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
	result = ini_parse_stream(read_line, &ini, on_value, &ini);
	place = xasprintf("%s:%d", path, ini.line);
	if (why->code != 0)
		return -1;
	if (ini.too_long)
		return fail(why, EX_CONFIG, place, "line longer than 198 bytes", NULL);
	if (ferror(file))
		return fail(why, EX_TEMPFAIL, "cannot read", path, strerror(errno));
	if (result != 0)
		return fail(why, EX_CONFIG, place, "not `name = value`", NULL);
	return 0;
}

static int
load_environment(struct settings *settings, struct failure *why)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		const char *value = getenv(table[i].name);
		auto_free char *wanted = NULL;

		if (value == NULL || *value == '\0')
			continue;
		wanted = set(settings, &table[i], value);
		if (wanted != NULL)
			return bad_value(why, "environment", table[i].name, value, wanted);
	}
	return 0;
}

static void
defaults(struct settings *settings)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	*settings = (struct settings){
	    .root = xstrdup("/var/starphleet"),
	    .run = xstrdup("/run/starphleet"),
	    .etc = xstrdup("/etc/starphleet.d"),
	    .lxc_root = xstrdup("/var/lib/lxc"),
	    .shared_data = xstrdup("/var/data"),
	    .share = xstrdup(PKGDATADIR),
	    .libexec = xstrdup(PKGLIBEXECDIR),
	    .bridge = xstrdup("phleet0"),
	    .subnet = {0x0a530000, 20},	  /* 10.83.0.0 */
	    .services = {0x0a531000, 20}, /* 10.83.16.0 */
	    .http_port = 80,
	    .https_port = 443,
	    .pulse_s = 10,
	    .drain_s = 30,
	    .builds = processors < 1 ? 1 : (int)processors,
	};
}

static bool
overlap(const struct subnet *left, const struct subnet *right)
{
	unsigned int prefix = left->prefix < right->prefix ? left->prefix : right->prefix;

	return ((left->network ^ right->network) >> (32 - prefix)) == 0;
}

int
settings_load(struct settings *settings, struct failure *why)
{
	defaults(settings);
	if (load_ini(settings, why) == -1 || load_environment(settings, why) == -1)
		return -1;
	if (settings->layers == NULL)
		settings->layers = xasprintf("%s/layers", settings->root);
	settings->keys = xasprintf("%s/private_keys", settings->root);
	if (overlap(&settings->subnet, &settings->services))
		return fail(why, EX_CONFIG, "STARPHLEET_SUBNET and STARPHLEET_SERVICES overlap", NULL, NULL);
	return 0;
}

void
settings_clear(struct settings *settings)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		char **member = (char **)((char *)settings + table[i].offset);

		if (table[i].kind == PLACE || table[i].kind == TEXT || table[i].kind == BRIDGE)
			free(*member);
	}
	free(settings->keys);
	*settings = (struct settings){0};
}
