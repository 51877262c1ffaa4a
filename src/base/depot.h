/*
 * depot.h - free objects that threads pass to each other, a magazine at a time
 *
 * Where one thread allocates and another frees, as with calls from another thread, the one's cache runs dry while the other's
 * flows over. The depot levels that out: alloc.c gives it what is too much for a cache, and asks it before the allocator.
 * Magazines are large, since objects that two workers make and free by turns are best kept where they are: with 64 objects
 * skynet on two workers took 8 % longer.
 *
 * From any thread. One mutex, taken once in COIL__MAGAZINE allocations of a kind at most.
 * Source: J. Bonwick, J. Adams: Magazines and Vmem (USENIX 2001).
 */
#ifndef COIL_BASE_DEPOT_H
#define COIL_BASE_DEPOT_H

#include "alloc.h"

#define COIL__GRANULE 16 /* objects of class c have (c + 1) * 16 bytes */
#define COIL__CLASSES (COIL_OBJECT_BYTES_MAX / COIL__GRANULE)
#define COIL__MAGAZINE 1024 /* objects */

/* A free object. The first one of a magazine in the depot also links the next magazine: 16 bytes are enough. */
struct coil__object {
    struct coil__object *next;
    struct coil__object *next_magazine;
};

/* Gives a chain of COIL__MAGAZINE objects of a class away. False: there are enough; they stay the caller's. */
bool coil__depot_put(size_t class, struct coil__object *magazine);

/* Such a chain, which is the caller's now; NULL: there is none. */
struct coil__object *coil__depot_take(size_t class);

#endif
