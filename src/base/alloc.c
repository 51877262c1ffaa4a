/*
 * alloc.c - the allocator behind everything, and the cache of small objects
 *
 * Called from any thread. The thread-local cache is touched only inside the functions of this file, which are never
 * inlined and never suspend: a task that moves to another thread between two calls finds the new thread's cache.
 *
 * I1 cache.free[c] chains COIL__MAGAZINE - cache.room[c] objects of class c, each from coil__malloc on its own:
 *    any thread may free what another allocated, and a thread that ends gives its cache back object by object
 * I2 until the thread has registered its end, its cache has neither objects nor room
 * I3 full[c] chains COIL__MAGAZINE more of them, or is NULL. With that between the free list and the depot, a thread that
 *    allocates and frees around the edge of a magazine does not go to the depot each time
 */
#include "alloc.h"

#include <pthread.h>
#include <string.h>

#ifdef COIL_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <stdlib.h>
#endif

#include "depot.h"

struct cache {
    uint64_t fail_in; /* the fail_in-th next allocation fails; 0: none */
    bool registered;  /* the thread's end empties it */
    struct coil__object *free[COIL__CLASSES];
    uint32_t room[COIL__CLASSES];             /* I1, I2 */
    struct coil__object *full[COIL__CLASSES]; /* I3 */
};

static _Thread_local struct cache cache __attribute__((tls_model("initial-exec")));

/* Counts an allocation; true if it is the one to fail. */
static bool injected_failure(void)
{
    if (coil_likely(cache.fail_in == 0))
        return false;
    return --cache.fail_in == 0;
}

__attribute__((noinline)) void coil__alloc_fail_at(uint64_t n)
{
    cache.fail_in = n;
}

__attribute__((noinline)) uint64_t coil__testing_allocations_left(void)
{
    return cache.fail_in;
}

__attribute__((noinline)) void *coil__malloc(size_t bytes)
{
    return injected_failure() ? NULL : malloc(bytes);
}

__attribute__((noinline)) void *coil__calloc(size_t bytes)
{
    return injected_failure() ? NULL : calloc(1, bytes);
}

__attribute__((noinline)) void *coil__calloc_aligned(size_t alignment, size_t bytes)
{
    void *p = injected_failure() ? NULL : aligned_alloc(alignment, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

__attribute__((noinline)) void *coil__realloc(void *p, size_t bytes)
{
    return injected_failure() ? NULL : realloc(p, bytes);
}

char *coil__strdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = coil__malloc(bytes);
    return copy ? memcpy(copy, s, bytes) : NULL;
}

void coil__free(void *p)
{
    free(p);
}

#ifdef COIL_PLAIN_OBJECTS

void *coil__object_alloc(size_t bytes)
{
    coil_debug_assert(bytes <= COIL_OBJECT_BYTES_MAX);
    return coil__malloc(bytes);
}

void coil__object_free(void *p, size_t bytes)
{
    coil_debug_assert(bytes <= COIL_OBJECT_BYTES_MAX);
    (void)bytes;
    free(p);
}

#else

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void free_all(struct coil__object *first)
{
    for (struct coil__object *o = first, *next; o; o = next) {
        next = o->next;
        free(o);
    }
}

static void empty_cache(void *unused)
{
    (void)unused;
    for (int c = 0; c < COIL__CLASSES; c++) {
        free_all(cache.free[c]);
        free_all(cache.full[c]);
        cache.free[c] = cache.full[c] = NULL;
        cache.room[c] = 0; /* I2 */
    }
    cache.registered = false; /* another destructor may free objects yet: then this one runs again */
}

static void make_exit_key(void)
{
    int rc = pthread_key_create(&exit_key, empty_cache);
    coil_assert(rc == 0);
}

/* I2. Without memory for the key's value the cache is lost with its thread, no more. */
static void register_thread(void)
{
    pthread_once(&exit_once, make_exit_key);
    (void)pthread_setspecific(exit_key, &cache);
    cache.registered = true;
    for (int c = 0; c < COIL__CLASSES; c++)
        cache.room[c] = COIL__MAGAZINE;
}

static size_t class_of(size_t bytes)
{
    coil_debug_assert(bytes <= COIL_OBJECT_BYTES_MAX);
    return bytes ? (bytes - 1) / COIL__GRANULE : 0;
}

/* The free list is empty: takes the other one, or a magazine of the depot. False: there is none. */
static __attribute__((noinline, cold)) bool refill(size_t c)
{
    struct coil__object *magazine = cache.full[c] ? cache.full[c] : coil__depot_take(c);
    cache.full[c] = NULL;
    if (!magazine)
        return false;
    if (!cache.registered)
        register_thread();
    cache.free[c] = magazine;
    cache.room[c] = 0;
    return true;
}

/* There is no room: the free list becomes the other one, which goes to the depot. */
static __attribute__((noinline, cold)) void make_room(size_t c)
{
    if (!cache.registered) {
        register_thread();
        return;
    }
    if (cache.full[c] && !coil__depot_put(c, cache.full[c]))
        free_all(cache.full[c]);
    cache.full[c] = cache.free[c];
    cache.free[c] = NULL;
    cache.room[c] = COIL__MAGAZINE;
}

__attribute__((noinline)) void *coil__object_alloc(size_t bytes)
{
    size_t c = class_of(bytes);
    if (coil_unlikely(!cache.free[c]) && !refill(c))
        return coil__malloc((c + 1) * COIL__GRANULE);
    if (coil_unlikely(injected_failure()))
        return NULL;
    struct coil__object *o = cache.free[c];
    cache.free[c] = o->next;
    cache.room[c]++;
    return o;
}

__attribute__((noinline)) void coil__object_free(void *p, size_t bytes)
{
    struct coil__object *o = p;
    size_t c = class_of(bytes);
    if (coil_unlikely(!o))
        return;
    if (coil_unlikely(cache.room[c] == 0))
        make_room(c);
    o->next = cache.free[c];
    cache.free[c] = o;
    cache.room[c]--;
}

#endif
