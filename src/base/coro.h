/*
 * coro.h - coroutines: a stack and saved registers, and the switch between two of them
 *
 * Knows nothing of tasks. A thread's own stack is a coil__coro too (stack NULL), so that every switch is from one to
 * another. All functions must be called on the thread that runs @from; a suspended coroutine may be resumed by any
 * thread.
 *
 * I1 exactly one coroutine of a thread is running; the others' saved sp is valid
 * I2 a coroutine that left by coil__coro_leave() is never switched to again; its stack may be freed or used anew by the
 *    code that runs next, not before
 * I3 while a coroutine runs nothing points to its struct: it may be copied, and the copy be what is switched from next.
 *    While it is suspended the struct stays where it is.
 * I4 the coil__cxx_state of the running coroutine is its thread's; who switches hands it on. It is empty during a switch:
 *    a coroutine that suspends with exceptions in flight takes them along (docs/decisions/0006-exceptions-travel.md)
 */
#ifndef COIL_BASE_CORO_H
#define COIL_BASE_CORO_H

#include "arch/arch.h"
#include "stack.h"

typedef struct coil__coro {
    void *sp;             /* while suspended: a struct coil__arch_frame */
    coil__stack *stack;   /* NULL: a thread's own */
    union {
        bool fp_control;  /* mxcsr and x87 control word (fpcr) travel with it */
        uint64_t traits;  /* that in the lowest byte; above it the address of a coil__cxx_state, 0 until it first runs: I4 */
    };
#ifdef COIL_ASAN
    void *fake_stack;     /* while suspended */
    const void *bottom;   /* of the stack, for __sanitizer_start_switch_fiber */
    size_t size;
#endif
#ifdef COIL_TSAN
    void *fiber;
#endif
} coil__coro;

/* What __cxa_get_globals() of C++'s ABI (2.2.2) leads to: the exceptions that a thread is dealing with. */
typedef struct coil__cxx_state {
    void *caught;      /* by handlers that have not ended */
    unsigned uncaught; /* number of those thrown and not caught yet: destructors are running */
} coil__cxx_state;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "traits");

static inline coil__cxx_state *coil__coro_exceptions(const coil__coro *c)
{
    return (coil__cxx_state *)(uintptr_t)(c->traits >> 8);
}

typedef void coil__coro_entry(void *arg); /* must not return: it ends with coil__coro_leave() */

/* Makes the calling thread's own stack a coroutine that can be switched from. */
void coil__coro_init_thread(coil__coro *c);

/* A coroutine that will run entry(arg) on @stack (borrowed) when it is first switched to. */
void coil__coro_init(coil__coro *c, coil__stack *stack, bool fp_control, coil__coro_entry *entry, void *arg);

/* The switch that takes control words or exceptions along; in sanitizer builds for all. */
void coil__coro_switch_slow(coil__coro *from, coil__coro *to);

/* I4: the first switch to a coroutine, and the first on another thread. */
static inline void coil__coro_hand_on(const coil__coro *from, coil__coro *to)
{
    to->traits = (from->traits & ~UINT64_C(0xff)) | to->fp_control;
}

/* Prepares a switch; true if it has to be the slow one. */
static inline bool coil__coro_special(const coil__coro *from, coil__coro *to)
{
    const coil__cxx_state *x = coil__coro_exceptions(from);
    if (coil_unlikely(from->traits != to->traits))
        coil__coro_hand_on(from, to);
    return (uint8_t)(from->traits | to->traits) || ((uintptr_t)x->caught | x->uncaught);
}

/* Suspends @from, which is running, and runs @to. Returns when somebody switches to @from. */
static inline void coil__coro_switch(coil__coro *from, coil__coro *to)
{
#if defined(COIL_ASAN) || defined(COIL_TSAN)
    coil__coro_switch_slow(from, to);
#else
    if (coil_unlikely(coil__coro_special(from, to)))
        coil__coro_switch_slow(from, to);
    else
        coil__arch_switch(&from->sp, to->sp);
#endif
}

/* The same, for the last time: @from is over. */
_Noreturn void coil__coro_leave_slow(coil__coro *from, coil__coro *to);

static inline __attribute__((always_inline)) _Noreturn void coil__coro_leave(coil__coro *from, coil__coro *to)
{
#if !defined(COIL_ASAN) && !defined(COIL_TSAN)
    if (coil_likely(!coil__coro_special(from, to)))
        coil__arch_jump(to->sp);
#endif
    coil__coro_leave_slow(from, to);
}

#endif
