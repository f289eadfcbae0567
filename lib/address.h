/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ADDRESS_H
#define STARPHLEET_ADDRESS_H

#include <stdint.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * IPv4 addresses, in host byte order: those of containers (from settings.subnet, whose first
 * address is the ship's own) and those of services (from settings.services). A claim is a file
 * below <root>/addresses; it outlives reboots, so a container keeps its address.
 */

/* How long a container address stays out of the pool after its release. */
enum { ADDRESS_REST_MS = 60 * 1000 };

/*
 * The address of container (a valid container name): the one that it has, else the lowest free
 * one, which is its own until released. EX_TEMPFAIL, by name of the subnet, if the pool is dry.
 */
int address_take(
    const struct settings *settings, const char *container, uint32_t *address, struct failure *why);

/*
 * Give container's address back; it rests for ADDRESS_REST_MS, or until the next boot. Call this
 * after netmap_forget: nothing may lead to the address any more. No claim is fine.
 */
int address_release(const struct settings *settings, const char *container, struct failure *why);

/* The address that container has: 0; 1 if it has none. It claims nothing. */
int address_find(
    const struct settings *settings, const char *container, uint32_t *address, struct failure *why);

/* Call visit with each container that has an address, until it answers non-zero; that is returned.
   No lock is held meanwhile. */
int address_each(const struct settings *settings,
    int (*visit)(const char *container, uint32_t address, void *context, struct failure *why),
    void *context, struct failure *why);

/* The same for the service address of an order: stable until released; it rests likewise. */
int address_service(
    const struct settings *settings, const char *order, uint32_t *address, struct failure *why);
int address_service_release(
    const struct settings *settings, const char *order, struct failure *why);

int address_service_find(
    const struct settings *settings, const char *order, uint32_t *address, struct failure *why);
int address_service_each(const struct settings *settings,
    int (*visit)(const char *word, uint32_t address, void *context, struct failure *why),
    void *context, struct failure *why);

/* The ship's own address on the bridge: the first of settings.subnet. */
uint32_t address_ship(const struct settings *settings);

/* Dotted quad; free() it. */
char *address_text(uint32_t address);

/* A dotted quad as inet_pton(3) takes it, or -1. */
int address_parse(const char *text, uint32_t *address);

#endif
