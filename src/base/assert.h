/*
 * assert.h - two levels of assertions
 *
 * coil_assert: always on; misuse that asyncio could not express (a freed object, waiters at free, an open scope at
 * the end of a task). coil_debug_assert: debug builds; invariants of coil's own, quoted by number.
 */
#ifndef COIL_BASE_ASSERT_H
#define COIL_BASE_ASSERT_H

#include <coil/base.h>

_Noreturn void coil__assert_failed(const char *what, const char *file, int line);

#define coil_assert(condition) \
    (__builtin_expect(!!(condition), 1) ? (void)0 : coil__assert_failed(#condition, __FILE__, __LINE__))

#ifdef COIL_DEBUG_ASSERTS
#define coil_debug_assert(condition) coil_assert(condition)
#else
#define coil_debug_assert(condition) ((void)sizeof(condition))
#endif

#define coil_likely(x) __builtin_expect(!!(x), 1)
#define coil_unlikely(x) __builtin_expect(!!(x), 0)
#define coil_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
