/* SPDX-License-Identifier: MIT */
#include "lib/order.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/own.h"

/* Container names lie in a 255-byte directory entry and in cgroup names with LXC's prefixes. */
enum { ORDER_MAX = 160, ID_DIGITS = 7 };

static bool
letter_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    strchr("._-", c) != NULL;
}

int
order_check(const char *order, struct failure *why)
{
	bool starts = true;

	if (strlen(order) > ORDER_MAX)
		return fail(why, EX_CONFIG, "bad name of an order", order, "longer than 160 bytes");
	for (const char *next = order; *next != '\0'; next++) {
		if (*next == '/') {
			if (starts || next[1] == '\0')
				return fail(why, EX_CONFIG, "bad name of an order", order, "an empty part");
			starts = true;
			continue;
		}
		if (!letter_ok(*next))
			return fail(why, EX_CONFIG, "bad name of an order", order,
			    "use letters, digits, `.`, `_` and `-` only");
		if (starts && (*next == '.' || *next == '-'))
			return fail(why, EX_CONFIG, "bad name of an order", order,
			    "a part begins with `.` or `-`");
		starts = false;
	}
	return 0;
}

char *
order_word(const char *order)
{
	char *word = xstrdup(*order == '\0' ? "+" : order);

	for (char *next = word; *next != '\0'; next++)
		if (*next == '/')
			*next = '+';
	return word;
}

char *
order_of_word(const char *word)
{
	auto_failure struct failure ignored = {0};
	auto_free char *order = xstrdup(strcmp(word, "+") == 0 ? "" : word);

	if (strchr(order, '/') != NULL || (*word == '\0'))
		return NULL;
	for (char *next = order; *next != '\0'; next++)
		if (*next == '+')
			*next = '/';
	return order_check(order, &ignored) == -1 ? NULL : steal(order);
}

char *
order_container(const char *order, const char *orders_id, const char *commit)
{
	auto_free char *word = order_word(order);

	return xasprintf("%s-%.*s-%.*s", word, ID_DIGITS, orders_id, ID_DIGITS,
	    commit == NULL ? "d000000" : commit);
}

/* `-` and 7 hex digits, or `-d` and 6 digits: what stands at the end of container names. */
static bool
is_part(const char *part)
{
	bool hex = true, date = part[1] == 'd';

	if (part[0] != '-')
		return false;
	for (int i = 1; i <= ID_DIGITS; i++) {
		hex = hex && isxdigit((unsigned char)part[i]) && !isupper((unsigned char)part[i]);
		date = date && (i == 1 || isdigit((unsigned char)part[i]));
	}
	return hex || date;
}

char *
order_of_container(const char *name)
{
	auto_free char *word = NULL;
	size_t length = strlen(name), tail = (size_t)2 * (ID_DIGITS + 1);

	if (length <= tail || !is_part(name + length - tail) || !is_part(name + length - tail / 2))
		return NULL;
	word = xstrndup(name, length - tail);
	return order_of_word(word);
}
