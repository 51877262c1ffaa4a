/*
 * explorer.h - runs a few model threads through every order in which they can take their steps
 *
 * The code under test is the library's own source, compiled with COIL_MODEL: each of its atomic accesses, and of its
 * mutexes, is a step. The explorer runs the threads as coroutines in one thread, chooses who takes the next step, and
 * goes through all choices depth first, running the program again from its setup for each.
 *
 * Memory, weakest last; what one allows the next does too:
 *
 *   MODEL_SC    a store is in memory at once
 *   MODEL_TSO   relaxed and release stores wait in the thread's store buffer, and reach memory in their order, each
 *               at any later step; the thread itself reads them from there. As x86 does.
 *   MODEL_WEAK  relaxed stores overtake others to other locations; release stores overtake nothing, but are overtaken
 *
 * seq_cst stores and release read-modify-writes wait until the thread's buffer is empty, and go to memory at once;
 * other read-modify-writes wait for stores to the same location only. Not modelled: loads out of order (a load reads
 * what is in memory when its turn comes, so that a missing acquire is not found), stores that overtake an earlier
 * read-modify-write, more than eight stores in a buffer, weak compare-and-swaps that fail without a reason. All that is
 * found can happen; not all that can happen is found.
 *
 * What others can neither see nor change is done at once, and is no choice: use of what no other thread writes or
 * reads, a store into the buffer, a mutex given back.
 *
 * A state that was reached before is not explored again. The state is what is in memory and in the store buffers, and
 * for each thread all that it has read. Plain variables do not count: they must follow from that, which is so for
 * what is guarded by a mutex or handed over by atomics, and for what only one thread uses. What a test notes for
 * others to look at, without any of these, is to be atomic too.
 */
#ifndef COIL_MODEL_EXPLORER_H
#define COIL_MODEL_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coil__latch;

enum { MODEL_THREADS_MAX = 4, MODEL_WEAKENED_MAX = 2 };

enum model_memory { MODEL_SC, MODEL_TSO, MODEL_WEAK };

/* What is made relaxed, to see that the order was needed. */
enum model_mutation {
    MODEL_NOTHING,
    MODEL_STORES, /* stores */
    MODEL_RMWS,   /* read-modify-writes; an exchange becomes a load and a store */
    MODEL_MUTEX,  /* a mutex or latch excludes nobody */
};

typedef struct model {
    const char *name;
    void (*setup)(void);
    void (*thread[MODEL_THREADS_MAX])(void); /* NULL: not that many */
    void (*check)(void);                     /* when no thread can go on, and all stores are in memory; or NULL */
    enum model_memory memory;
    struct {
        const volatile void *p;
        enum model_mutation mutation;
    } weakened[MODEL_WEAKENED_MAX];
} model;

typedef struct model_result {
    const char *failure;   /* NULL: there is none */
    uint64_t interleavings; /* from the start to the end, or to a state that was reached before */
    uint64_t states;       /* with more than one possible next step */
    unsigned steps;        /* of the longest */
} model_result;

/* Explores until something fails, or nothing is left. Prints a line, and if @verbose the steps of a failure. */
model_result model_explore(const model *m, bool verbose);

/* --- inside of model threads ------------------------------------------------------------------------------------ */

/* Ends the exploration unless @condition holds. Also in check(), which goes on however. */
#define model_assert(condition) ((condition) ? (void)0 : model_fail(#condition))
void model_fail(const char *what);

/* A descriptor or semaphore to sleep on, as an eventfd: wakes are counted, and taken all at once. */
typedef struct model_event {
    volatile uint64_t count;
} model_event;

void model_signal(model_event *e);
bool model_poll(model_event *e); /* takes the wakes; false: there were none */

/* Sleeps until there is one. The model may end with threads that sleep here, but not with any that wait for a mutex. */
void model_sleep(model_event *e);

/* From now on no step of any thread may touch it; nor may it be freed again in this run. */
void model_free(const volatile void *p, size_t bytes);
bool model_freed(const volatile void *p);

/* In setup(): a name for the trace. */
#define model_name(object) model_name_address(&(object), #object)
void model_name_address(const volatile void *p, const char *name);

/* The same for a latch (src/base/latch.h): who finds it held waits for it as for a mutex, instead of spinning. */
#define model_latch(latch) model_latch_address(&(latch), #latch)
void model_latch_address(struct coil__latch *l, const char *name);

/* The same for a count of references. Nobody learns more of it than whether it is 0, 1 or more: fewer states differ. */
#define model_count(object) model_count_address(&(object), #object)
void model_count_address(const volatile void *p, const char *name);

/* The number of the thread that runs; MODEL_THREADS_MAX in setup() and check(). */
unsigned model_thread(void);

#endif
