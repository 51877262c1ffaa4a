/*
 * atomics.h - what src/base/atomic.h is made of in a model test: every access is a step of the explorer (explorer.h)
 *
 * Included through COIL_MODEL, which names this file. An access goes to the explorer as an address, a size and 64
 * bits. So do pthread mutexes, whose functions are replaced below; a file that uses one has included <pthread.h> or
 * does so here.
 */
#ifndef COIL_MODEL_ATOMICS_H
#define COIL_MODEL_ATOMICS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum coil__model_order {
    coil__model_relaxed,
    coil__model_acquire,
    coil__model_release,
    coil__model_acq_rel,
    coil__model_seq_cst
};

/* Outside of the model's threads all of these access memory at once. */
uint64_t coil__model_load(const volatile void *p, unsigned size, enum coil__model_order order);
void coil__model_store(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order);
uint64_t coil__model_exchange(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order);
uint64_t coil__model_fetch_add(volatile void *p, unsigned size, uint64_t value, enum coil__model_order order);
bool coil__model_cas(volatile void *p, unsigned size, uint64_t *expected, uint64_t value, enum coil__model_order order);
void coil__model_lock(volatile uint64_t *mutex);
void coil__model_unlock(volatile uint64_t *mutex);

/* The type of *p without _Atomic. */
#define coil__model_type(p) __typeof__(((void)0, *(p)))

#define coil__model_to_bits(type, v)                    \
    ({                                                  \
        type bits_of = (v);                         \
        uint64_t bits_out = 0;                        \
        memcpy(&bits_out, &bits_of, sizeof(type)); \
        bits_out;                                     \
    })

#define coil__model_of_bits(type, bits)                  \
    ({                                                   \
        type value_out;                               \
        uint64_t bits_in = (bits);                     \
        memcpy(&value_out, &bits_in, sizeof(type)); \
        value_out;                                    \
    })

#define coil__atomic_load(p, order) \
    coil__model_of_bits(coil__model_type(p), coil__model_load((p), sizeof *(p), coil__model_##order))
#define coil__atomic_store(p, v, order) \
    coil__model_store((p), sizeof *(p), coil__model_to_bits(coil__model_type(p), v), coil__model_##order)
#define coil__model_rmw(op, p, v, order)                                                                          \
    coil__model_of_bits(coil__model_type(p), coil__model_##op((p), sizeof *(p),                                   \
                                                              coil__model_to_bits(coil__model_type(p), v),        \
                                                              coil__model_##order))
#define coil__atomic_exchange(p, v, order) coil__model_rmw(exchange, p, v, order)
#define coil__atomic_fetch_add(p, v, order) coil__model_rmw(fetch_add, p, v, order)
#define coil__atomic_fetch_sub(p, v, order) coil__model_rmw(fetch_add, p, (coil__model_type(p))0 - (v), order)
#define coil__atomic_cas(strength, p, expected, v, order)                                              \
    ({                                                                                                 \
        coil__model_type(p) *cas_expected = (expected);                                              \
        uint64_t cas_seen = coil__model_to_bits(coil__model_type(p), *cas_expected);               \
        bool cas_won = coil__model_cas((p), sizeof *(p), &cas_seen,                                \
                                         coil__model_to_bits(coil__model_type(p), v), coil__model_##order); \
        *cas_expected = coil__model_of_bits(coil__model_type(p), cas_seen);                        \
        cas_won;                                                                                     \
    })

/* A fence is a read-modify-write of a word of its own. */
extern _Atomic uint64_t coil__model_fence;
#define coil__atomic_fence(order) \
    ((void)coil__model_fetch_add(&coil__model_fence, sizeof coil__model_fence, 0, coil__model_##order))

/* A mutex is a word: even and the mark of its last holder, or odd, held. */
_Static_assert(sizeof(pthread_mutex_t) >= sizeof(uint64_t), "room for the word");
#define pthread_mutex_init(mutex, attributes) ((void)(attributes), (void)(*(volatile uint64_t *)(mutex) = 0))
#define pthread_mutex_destroy(mutex) ((void)(mutex))
#define pthread_mutex_lock(mutex) coil__model_lock((volatile uint64_t *)(mutex))
#define pthread_mutex_unlock(mutex) coil__model_unlock((volatile uint64_t *)(mutex))

#endif
