/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_LAYER_H
#define STARPHLEET_LAYER_H

#include <stdbool.h>
#include <time.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/idmap.h"
#include "lib/making.h"
#include "lib/settings.h"

/*
 * Layers: <layers>/<digest>/ with root/ (the tree, owned by mapped ids) and layer.json {kind: base,
 * stack or build, order, root (the ship's), created, ...}. A layer is made beside as .tmp.XXXXXX,
 * synced and renamed in; it is never changed after. What a killed maker left is removed by the
 * next.
 */

/* <layers>/<digest>[/<file>]; free() it. */
char *layer_path(const struct settings *settings, const char *digest);

/*
 * What layer.json says of digest, and its time of use is now; the caller owns it. NULL without
 * *why: there is no such layer. NULL with *why: it cannot be read.
 */
json_t *layer_use(const struct settings *settings, const char *digest, struct failure *why);

/*
 * Wait until nobody else makes the layer digest, then nobody else does until the descriptor is
 * closed by layer_unlock. -1: *why.
 */
int layer_lock(const struct settings *settings, const char *digest, struct failure *why);
void layer_unlock(const struct settings *settings, const char *digest, int lock);

/* Begin a layer: making->path has root/ and work/, owned by the mapped root. */
int layer_begin(const struct settings *settings, const struct idmap *map, struct making *layer,
    struct failure *why);

/* It is whole: sync it and give it its name, with about (kind, order...) as its layer.json. */
int layer_commit(const struct settings *settings, struct making *layer, const char *digest,
    json_t *about, struct failure *why);

/* Call visit with each layer, until it answers non-zero; that is returned. */
int layer_each(const struct settings *settings,
    int (*visit)(
	const char *digest, const json_t *about, time_t used, void *context, struct failure *why),
    void *context, struct failure *why);

/* Remove the layer; a digest that is no layer is fine. The caller knows that nothing uses it. */
int layer_remove(const struct settings *settings, const char *digest, struct failure *why);

#endif
