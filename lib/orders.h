/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ORDERS_H
#define STARPHLEET_ORDERS_H

#include <jansson.h>

#include "lib/digest.h"
#include "lib/failure.h"
#include "lib/orders-view.h"
#include "lib/sandbox.h"
#include "lib/settings.h"

/*
 * The evaluation of orders files of one headquarters on this ship: real bash in a sandbox, with the
 * layers built-in defaults, `.starphleet`, the ship's folder by name, the orders file; later wins.
 * Results are kept in <run>/orders/<word>.json under the digest of all that went in.
 */
struct orders {
	const struct settings *settings; /* borrowed */
	char *top; /* the headquarters' directory */
	char *etc; /* the ship's layers */
	char *prefix; /* shown before paths below top; "" or ending in `/` */
	struct view shared;
	struct sandbox_place *layers; /* the ship's layers; from and to are owned */
	size_t layer_count;
	char *ship, *base; /* the ship's name; what containers are made from */
	char common[DIGEST_HEX + 1]; /* of all that every evaluation shares */
	struct sandbox *sandbox; /* made when the first order must be evaluated */
};

#define auto_orders __attribute__((cleanup(orders_close)))

/* Read what all orders of the headquarters top share. prefix may be NULL. -1: *why. */
int orders_open(struct orders *orders, const struct settings *settings, const char *top,
    const char *etc, const char *prefix, struct failure *why);
void orders_close(struct orders *orders);

/* One order on its way. */
struct orders_job {
	char *order, *file; /* its name; the orders file below top */
	char *text;
	struct view own;
	char tree[DIGEST_HEX + 1], key[DIGEST_HEX + 1];
	json_t *outcome; /* see orders_report_judge; NULL until it is known */
};

#define auto_orders_job __attribute__((cleanup(orders_job_clear)))
void orders_job_clear(struct orders_job *job);

/*
 * Look at the orders file `name` (NULL: "orders") of an order: fills *job, its outcome too if it is
 * kept from an earlier evaluation of the same input (cache). Makes the sandbox if it will be
 * needed, so call it before any fork. -1: *why says what is wrong with the file or the machine.
 */
int orders_find(struct orders *orders, const char *order, const char *name, bool cache,
    struct orders_job *job, struct failure *why);

/* Evaluate a job that has no outcome yet, and keep the outcome (cache). -1: *why; try again. */
int orders_evaluate(
    const struct orders *orders, struct orders_job *job, bool cache, struct failure *why);

/* Put the outcome into record: its fields, or -1 and the problems in *why. */
int orders_apply(const struct orders_job *job, json_t *record, struct failure *why);

#endif
