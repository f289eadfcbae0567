/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CONTAINER_H
#define STARPHLEET_CONTAINER_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Containers of this ship: <lxc_root>/<name>/ with config, delta/, work/ and starphleet.json {root,
 * order, layers, address, port, orders_id, commit}. What has no starphleet.json that names our root
 * is not ours and never touched. LXC mounts the overlay in the container's own mount namespace: no
 * mount is ever seen on the ship, and none outlives the container, however it ends. What makes and
 * starts them, and needs liblxc, is in lib/container-make.h.
 */

/* True if the directory of a container of that name exists, whoever's. */
bool container_exists(const struct settings *settings, const char *name);

/* Its starphleet.json; the caller owns it. NULL without *why: no such container. NULL with *why
   (78): it is not this ship's, or damaged. */
json_t *container_about(const struct settings *settings, const char *name, struct failure *why);

/* True if it runs: asked of the kernel, about 0.1 ms. */
bool container_running(const struct settings *settings, const char *name);

/*
 * Stop it: SIGTERM to its process 1, which has grace_s seconds (0: none), then its cgroup is
 * killed. Afterwards no process of it is left. Not running is fine.
 */
int container_stop(
    const struct settings *settings, const char *name, int grace_s, struct failure *why);

/*
 * Stop it at once and remove it with its cgroups. Its address, its layers and logs stay. A name
 * that does not exist is fine; one that is not ours is EX_CONFIG.
 */
int container_destroy(const struct settings *settings, const char *name, struct failure *why);

/* Call visit with each container of this ship, until it answers non-zero; that is returned. */
int container_each(const struct settings *settings,
    int (*visit)(const char *name, const json_t *about, void *context, struct failure *why),
    void *context, struct failure *why);

#endif
