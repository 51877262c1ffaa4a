/*
 * stack.c - slabs of guarded stacks, a cache of hot ones per thread
 *
 * Called from any thread; a stack goes through these places:
 *
 *   cold in a slab   no memory (or never touched); taken lowest first; `guarded` remembers the guard page
 *   in use
 *   hot here         the freeing thread's cache, at most HOT_MAX of a size; no lock
 *   hot elsewhere    `warm` of its size class, under the lock: what a full or ended thread's cache passed on
 *
 * I1 slab.cold has the bit of a stack exactly while it is cold
 * I2 a slab is in its class's `partial` list exactly if slab.cold != 0
 * I3 a slab whose stacks are all cold is unmapped, unless it is the only partial one of its class
 *
 * The lock is `classes_lock`, a leaf: no other lock is taken under it. It covers classes[] and the masks of all slabs.
 * Source for guards: Linux 6.13 mm/madvise.c, madvise_guard_install; madvise(2); mincore(2).
 */
#define _GNU_SOURCE
#include "stack.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"
#include "list.h"

#ifdef COIL_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef COIL_VALGRIND
#include <valgrind/valgrind.h>
#endif

#ifndef MADV_GUARD_INSTALL /* Linux 6.13; not in Debian 12's headers */
#define MADV_GUARD_INSTALL 102
#endif

#if defined(COIL_ASAN) || defined(COIL_TSAN)
enum { SANITIZER_FACTOR = 4 }; /* instrumented frames are larger */
#else
enum { SANITIZER_FACTOR = 1 };
#endif

#ifdef COIL_ASAN
/* LeakSanitizer reads whole stacks, and trusts /proc/self/maps, which does not show guards made by advice. */
enum { ADVICE_ALLOWED = 0 };
#else
enum { ADVICE_ALLOWED = 1 };
#endif

#ifdef COIL_TSAN
/* Fibers are recycled with their stacks: their addresses are in the stacks' memory, which therefore stays. */
enum { MEMORY_STAYS = 1 };
#else
enum { MEMORY_STAYS = 0 };
#endif

enum {
    SLAB_STACKS = 64,               /* bits of a mask */
    CLASS_FIRST = 14,               /* 16 KiB */
    CLASSES = 32 - CLASS_FIRST + 1, /* up to SANITIZER_FACTOR * 1 GiB */
    HOT_MAX = 4096,                 /* of a class, in a thread's cache and in `warm`, each */
    TRIM_EVERY = 64,                /* frees */
    TRIM_KEEP = 16 * 1024,          /* bytes below the struct that stay */
    TRIM_PAGES = 256,               /* looked at below that */
    COLOURS = 16,
    COLOUR_BYTES = 64,
};
static const size_t SLAB_BYTES_AIM = (size_t)64 << 20;

_Static_assert(COIL_STACK_BYTES_MIN == (size_t)1 << CLASS_FIRST, "the smallest class");
_Static_assert(COIL_STACK_BYTES_MAX << 2 == (size_t)1 << (CLASS_FIRST + CLASSES - 1), "the largest class");
_Static_assert(sizeof(coil__stack) + COLOURS * COLOUR_BYTES <= 2048, "leaves most of the first page to the coroutine");

struct coil__slab {
    coil__node all, partial;
    char *memory;
    size_t stack_bytes;
    uint32_t count;
    uint64_t cold;    /* I1 */
    uint64_t guarded; /* has its guard page */
};

struct class {
    coil__list slabs;   /* all of them: how LeakSanitizer finds them */
    coil__list partial; /* I2 */
    coil__stack *warm;
    uint32_t warm_count;
};

struct cache {
    coil__stack *hot[CLASSES];
    uint32_t count[CLASSES];
    uint32_t frees;
    bool registered; /* this file is initialised, and the thread's end empties the cache */
};

enum guard_kind { GUARD_ADVICE, GUARD_MPROTECT };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static pthread_mutex_t classes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct class classes[CLASSES];
static enum guard_kind guard_kind;
static size_t page_bytes;

static _Thread_local struct cache thread_cache __attribute__((tls_model("initial-exec")));

/* --- guards --- */

/* A write from the page must fail: emulators accept advice that they ignore, and then the kernel reads the page. */
static bool faults(char *page)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    ssize_t n = write(fds[1], page, 1);
    bool fault = n < 0 && errno == EFAULT;
    close(fds[0]);
    close(fds[1]);
    return fault;
}

static bool advice_works(void)
{
    char *page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    bool works = madvise(page, page_bytes, MADV_GUARD_INSTALL) == 0 && faults(page);
    munmap(page, page_bytes);
    return works;
}

/* NULL, or the reason. */
static const char *install_guard(char *page)
{
    if (guard_kind == GUARD_ADVICE) {
        if (madvise(page, page_bytes, MADV_GUARD_INSTALL) == 0)
            return NULL;
        return "no memory for a stack's guard page";
    }
    if (mprotect(page, page_bytes, PROT_NONE) == 0)
        return NULL;
    return "no mapping left for a stack's guard page: raise vm.max_map_count (each stack takes two mappings before "
           "Linux 6.13)";
}

/* --- slabs; all under the lock --- */

static size_t class_bytes(size_t class)
{
    return (size_t)1 << (class + CLASS_FIRST);
}

static uint64_t full_mask(const struct coil__slab *slab)
{
    return slab->count == SLAB_STACKS ? UINT64_MAX : ((uint64_t)1 << slab->count) - 1;
}

static struct coil__slab *slab_new(size_t stack_bytes)
{
    struct coil__slab *slab = coil__calloc(sizeof *slab);
    if (!slab)
        return NULL;
    size_t count = SLAB_BYTES_AIM / stack_bytes;
    slab->count = count > SLAB_STACKS ? SLAB_STACKS : count < 1 ? 1 : (uint32_t)count;
    slab->stack_bytes = stack_bytes;
    slab->cold = full_mask(slab);
    slab->memory = mmap(NULL, slab->count * stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab->memory == MAP_FAILED) {
        coil__free(slab);
        return NULL;
    }
    /* A huge page would commit 2 MiB for a stack that touches 4 KiB. A kernel without them refuses; no matter. */
    madvise(slab->memory, slab->count * stack_bytes, MADV_NOHUGEPAGE);
    return slab;
}

static void slab_free(struct coil__slab *slab)
{
    coil__node_unlink(&slab->all);
    coil__node_unlink(&slab->partial);
    munmap(slab->memory, slab->count * slab->stack_bytes);
    coil__free(slab);
}

static struct coil__slab *partial_slab(size_t class)
{
    struct class *c = &classes[class];
    if (!coil__list_empty(&c->partial))
        return coil_container_of(coil__list_first(&c->partial), struct coil__slab, partial);
    struct coil__slab *slab = slab_new(class_bytes(class));
    if (slab) {
        coil__list_append(&c->slabs, &slab->all);
        coil__list_append(&c->partial, &slab->partial);
    }
    return slab;
}

/* Writes the struct, which commits the stack's first page. tsan_fiber stays what it was, in new memory NULL. */
static coil__stack *carve(struct coil__slab *slab, uint32_t index)
{
    char *low = slab->memory + index * slab->stack_bytes;
    char *top = low + slab->stack_bytes - (index % COLOURS) * COLOUR_BYTES - (sizeof(coil__stack) + 15) / 16 * 16;
    coil__stack *s = (coil__stack *)(void *)top;
    s->base = low + page_bytes;
    s->top = top;
    s->bytes = slab->stack_bytes;
    s->slab = slab;
    s->index = index;
#ifdef COIL_VALGRIND
    s->valgrind_id = VALGRIND_STACK_REGISTER(s->base, s->top);
#endif
    return s;
}

static coil__stack *take_cold(size_t class, const char **reason)
{
    struct coil__slab *slab = partial_slab(class);
    if (!slab) {
        *reason = "no address space or mapping for a slab of stacks";
        return NULL;
    }
    uint32_t index = (uint32_t)__builtin_ctzll(slab->cold);
    uint64_t bit = (uint64_t)1 << index;
    if (!(slab->guarded & bit)) {
        const char *failed = install_guard(slab->memory + index * slab->stack_bytes);
        if (failed) {
            *reason = failed;
            return NULL;
        }
        slab->guarded |= bit;
    }
    slab->cold &= ~bit; /* I1 */
    if (!slab->cold)
        coil__node_unlink(&slab->partial); /* I2 */
    return carve(slab, index);
}

static void make_cold(coil__stack *s, size_t class)
{
    struct coil__slab *slab = s->slab;
    struct class *c = &classes[class];
    uint32_t index = s->index;
#ifdef COIL_VALGRIND
    VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#endif
#ifdef COIL_ASAN
    ASAN_UNPOISON_MEMORY_REGION(s->base, (size_t)(s->top - s->base));
#endif
    if (!MEMORY_STAYS)
        madvise(s->base, slab->stack_bytes - page_bytes, MADV_DONTNEED); /* with *s */
    if (!slab->cold)
        coil__list_prepend(&c->partial, &slab->partial); /* I2 */
    slab->cold |= (uint64_t)1 << index;                  /* I1 */
    bool only = coil__list_first(&c->partial) == coil__list_last(&c->partial);
    if (slab->cold == full_mask(slab) && !only && !MEMORY_STAYS)
        slab_free(slab); /* I3 */
}

/* --- caches --- */

static coil__stack *take_shared(size_t class, const char **reason)
{
    pthread_mutex_lock(&classes_lock);
    struct class *c = &classes[class];
    coil__stack *s = c->warm;
    if (s) {
        c->warm = s->next;
        c->warm_count--;
    } else {
        s = take_cold(class, reason);
    }
    pthread_mutex_unlock(&classes_lock);
    return s;
}

static void give_shared(coil__stack *s, size_t class)
{
    pthread_mutex_lock(&classes_lock);
    struct class *c = &classes[class];
    if (c->warm_count < HOT_MAX) {
        s->next = c->warm;
        c->warm = s;
        c->warm_count++;
    } else {
        make_cold(s, class);
    }
    pthread_mutex_unlock(&classes_lock);
}

/* Empties a thread's cache into @give. */
static void drain(struct cache *cache, void give(coil__stack *s, size_t class))
{
    for (size_t class = 0; class < CLASSES; class++) {
        for (coil__stack *s = cache->hot[class], *next; s; s = next) {
            next = s->next;
            give(s, class);
        }
        cache->hot[class] = NULL;
        cache->count[class] = 0;
    }
}

static void thread_ends(void *cache)
{
    ((struct cache *)cache)->registered = false; /* a later destructor may free stacks: then this one runs again */
    drain(cache, give_shared);
}

static void make_cold_locked(coil__stack *s, size_t class)
{
    pthread_mutex_lock(&classes_lock);
    make_cold(s, class);
    pthread_mutex_unlock(&classes_lock);
}

static void init_once(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t class = 0; class < CLASSES; class++) {
        coil__list_init(&classes[class].slabs);
        coil__list_init(&classes[class].partial);
    }
    int rc = pthread_key_create(&exit_key, thread_ends);
    coil_assert(rc == 0);
    guard_kind = ADVICE_ALLOWED && advice_works() ? GUARD_ADVICE : GUARD_MPROTECT;
}

static __attribute__((noinline, cold)) void register_thread(struct cache *cache)
{
    pthread_once(&once, init_once);
    /* Without memory for the key's value the cache is lost with its thread, no more. */
    cache->registered = pthread_setspecific(exit_key, cache) == 0;
}

/* Opaque, so that the address is not kept where a task may have changed its thread. */
static __attribute__((noinline)) struct cache *cache_get(void)
{
    struct cache *c = &thread_cache;
    __asm__ volatile("" : "+r"(c));
    if (coil_unlikely(!c->registered))
        register_thread(c);
    return c;
}

void coil__stack_cache_clear(void)
{
    drain(cache_get(), make_cold_locked);
}

const char *coil__stack_guard_kind(void)
{
    pthread_once(&once, init_once);
    return guard_kind == GUARD_ADVICE ? "MADV_GUARD_INSTALL" : "mprotect";
}

/* The size class of at least @bytes. */
static size_t class_of(size_t bytes)
{
    size_t least = COIL_STACK_BYTES_MIN > 4 * page_bytes ? COIL_STACK_BYTES_MIN : 4 * page_bytes;
    size_t wanted = bytes > least ? bytes : least;
    wanted *= SANITIZER_FACTOR;
    return (size_t)(64 - __builtin_clzll(wanted - 1)) - CLASS_FIRST;
}

size_t coil__stack_round(size_t bytes)
{
    cache_get(); /* page_bytes */
    return class_bytes(class_of(bytes));
}

/* What sanitizers must know of a stack that is going to be used, or was. */
static void begin_use(coil__stack *s)
{
    s->overflow_name = NULL;
    s->owner = NULL;
#ifdef COIL_ASAN
    /* A coroutine that left did not return from its functions: their red zones are still there. */
    ASAN_UNPOISON_MEMORY_REGION(s->base, (size_t)(s->top - s->base));
    __lsan_register_root_region(s->base, (size_t)(s->top - s->base));
#endif
}

static void end_use(coil__stack *s)
{
    (void)s;
#ifdef COIL_ASAN
    __lsan_unregister_root_region(s->base, (size_t)(s->top - s->base));
    ASAN_POISON_MEMORY_REGION(s->base, (size_t)(s->top - s->base));
#endif
}

void coil__stack_reuse(coil__stack *s)
{
    end_use(s);
    begin_use(s);
}

static __attribute__((noinline, cold)) coil__stack *alloc_slowly(size_t class, const char **reason)
{
    const char *ignored;
    coil__stack *s = take_shared(class, reason ? reason : &ignored);
    if (s)
        begin_use(s);
    return s;
}

coil__stack *coil__stack_alloc(size_t bytes, const char **reason)
{
    if (coil_unlikely(bytes > COIL_STACK_BYTES_MAX)) {
        if (reason)
            *reason = "a stack of more than 1 GiB";
        return NULL;
    }
    struct cache *cache = cache_get();
    size_t class = class_of(bytes);
    coil__stack *s = cache->hot[class];
    if (coil_unlikely(!s))
        return alloc_slowly(class, reason);
    cache->hot[class] = s->next;
    cache->count[class]--;
    begin_use(s);
    return s;
}

/* Gives the memory of an unusually deep use back: all that lies more than TRIM_KEEP below the struct. */
static __attribute__((noinline, cold)) void trim(coil__stack *s)
{
    uintptr_t keep = ((uintptr_t)s - TRIM_KEEP) & ~(uintptr_t)(page_bytes - 1);
    if (keep <= (uintptr_t)s->base)
        return;
    size_t pages = (keep - (uintptr_t)s->base) / page_bytes;
    size_t looked_at = pages < TRIM_PAGES ? pages : TRIM_PAGES;
    unsigned char resident[TRIM_PAGES];
    if (mincore((void *)(keep - looked_at * page_bytes), looked_at * page_bytes, resident) < 0)
        return;
    for (size_t i = 0; i < looked_at; i++) {
        if (resident[i] & 1) {
            madvise(s->base, pages * page_bytes, MADV_DONTNEED);
            return;
        }
    }
}

void coil__stack_free(coil__stack *s)
{
    struct cache *cache = cache_get();
    size_t class = (size_t)__builtin_ctzll(s->bytes) - CLASS_FIRST;
    end_use(s);
    if (coil_unlikely(++cache->frees % TRIM_EVERY == 0))
        trim(s);
    if (coil_unlikely(cache->count[class] >= HOT_MAX)) {
        give_shared(s, class);
        return;
    }
    s->next = cache->hot[class];
    cache->hot[class] = s;
    cache->count[class]++;
}

bool coil__under_valgrind(void)
{
#ifdef COIL_VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}
