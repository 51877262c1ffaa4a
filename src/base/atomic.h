/*
 * atomic.h - atomic accesses with their order in the name
 *
 * Bare operators on _Atomic objects are not used anywhere; every access goes through these, and carries a label.
 *
 * There are seven operations, and each name below is one of them with an order. A model test (tests/model) brings its
 * own seven, of which each is a step of the explorer: it defines COIL_MODEL as the name of the header that has them.
 */
#ifndef COIL_BASE_ATOMIC_H
#define COIL_BASE_ATOMIC_H

#include <stdatomic.h>

#ifdef COIL_MODEL
#include COIL_MODEL
#else
#define coil__atomic_load(p, order) atomic_load_explicit((p), memory_order_##order)
#define coil__atomic_store(p, v, order) atomic_store_explicit((p), (v), memory_order_##order)
#define coil__atomic_exchange(p, v, order) atomic_exchange_explicit((p), (v), memory_order_##order)
#define coil__atomic_fetch_add(p, v, order) atomic_fetch_add_explicit((p), (v), memory_order_##order)
#define coil__atomic_fetch_sub(p, v, order) atomic_fetch_sub_explicit((p), (v), memory_order_##order)
#define coil__atomic_cas(strength, p, expected, v, order) \
    atomic_compare_exchange_##strength##_explicit((p), (expected), (v), memory_order_##order, memory_order_relaxed)
#define coil__atomic_fence(order) atomic_thread_fence(memory_order_##order)
#endif

#define load_relaxed(p) coil__atomic_load(p, relaxed)
#define load_acquire(p) coil__atomic_load(p, acquire)
#define load_seq_cst(p) coil__atomic_load(p, seq_cst)
#define store_relaxed(p, v) coil__atomic_store(p, v, relaxed)
#define store_release(p, v) coil__atomic_store(p, v, release)
#define store_seq_cst(p, v) coil__atomic_store(p, v, seq_cst)
#define fetch_add_relaxed(p, v) coil__atomic_fetch_add(p, v, relaxed)
#define fetch_add_acq_rel(p, v) coil__atomic_fetch_add(p, v, acq_rel)
#define fetch_sub_acq_rel(p, v) coil__atomic_fetch_sub(p, v, acq_rel)
#define exchange_acquire(p, v) coil__atomic_exchange(p, v, acquire)
#define exchange_acq_rel(p, v) coil__atomic_exchange(p, v, acq_rel)
#define exchange_seq_cst(p, v) coil__atomic_exchange(p, v, seq_cst)

/* Compare and swap; a failure is a relaxed load into *expected. */
#define cas_weak_release(p, expected, v) coil__atomic_cas(weak, p, expected, v, release)
#define cas_weak_acq_rel(p, expected, v) coil__atomic_cas(weak, p, expected, v, acq_rel)
#define cas_strong_relaxed(p, expected, v) coil__atomic_cas(strong, p, expected, v, relaxed)
#define cas_strong_release(p, expected, v) coil__atomic_cas(strong, p, expected, v, release)
#define cas_strong_seq_cst(p, expected, v) coil__atomic_cas(strong, p, expected, v, seq_cst)

/*
 * Between a store and a load of something else that must not overtake it. ThreadSanitizer does not know fences: nothing may be
 * handed over by them alone.
 */
#define fence_seq_cst() coil__atomic_fence(seq_cst)

#endif
