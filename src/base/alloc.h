/*
 * alloc.h - memory: one allocator behind everything, and a cache of small objects per thread
 *
 * coil__malloc and friends are jemalloc or the system's allocator, as configured. coil__object_alloc serves small
 * fixed-size objects (tasks, futures, handles) from free lists of the calling thread: no lock, no atomic, and in the
 * steady state no allocator call. Objects may be freed on another thread than they were made on: what one thread has too
 * many of goes to the others through a depot (depot.h). Sanitizer builds (COIL_PLAIN_OBJECTS) bypass the cache, so that
 * each object is watched on its own.
 *
 * Fault injection: after coil__alloc_fail_at(n) the n-th next allocation of this thread fails (1 = the next); 0: none.
 * Object allocations count, cached or not.
 */
#ifndef COIL_BASE_ALLOC_H
#define COIL_BASE_ALLOC_H

#include "assert.h"

void *coil__malloc(size_t bytes);               /* NULL without memory */
void *coil__calloc_aligned(size_t alignment, size_t bytes); /* @bytes: a multiple of it */
void *coil__calloc(size_t bytes);
void *coil__realloc(void *p, size_t bytes);
char *coil__strdup(const char *s);
void coil__free(void *p);                       /* NULL is allowed */

#define COIL_OBJECT_BYTES_MAX 512
void *coil__object_alloc(size_t bytes);         /* uninitialised; NULL without memory; bytes <= COIL_OBJECT_BYTES_MAX */
void coil__object_free(void *p, size_t bytes);  /* the same number of bytes */

/* Memory of any size that is known again when it is freed: an object if it is small enough. */
static inline void *coil__sized_alloc(size_t bytes)
{
    return bytes <= COIL_OBJECT_BYTES_MAX ? coil__object_alloc(bytes) : coil__malloc(bytes);
}

static inline void coil__sized_free(void *p, size_t bytes)
{
    if (bytes <= COIL_OBJECT_BYTES_MAX)
        coil__object_free(p, bytes);
    else
        coil__free(p);
}

COIL_API void coil__alloc_fail_at(uint64_t n);
COIL_API uint64_t coil__testing_allocations_left(void); /* in how many one will fail; 0: none */

#endif
