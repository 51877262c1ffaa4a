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
 */
#ifndef COIL_BASE_CORO_H
#define COIL_BASE_CORO_H

#include "arch/arch.h"
#include "stack.h"

typedef struct coil__coro {
    void *sp;             /* while suspended: a struct coil__arch_frame */
    coil__stack *stack;   /* NULL: a thread's own */
    bool fp_control;      /* mxcsr and x87 control word (fpcr) travel with it */
#ifdef COIL_ASAN
    void *fake_stack;     /* while suspended */
    const void *bottom;   /* of the stack, for __sanitizer_start_switch_fiber */
    size_t size;
#endif
#ifdef COIL_TSAN
    void *fiber;
#endif
} coil__coro;

typedef void coil__coro_entry(void *arg); /* must not return: it ends with coil__coro_leave() */

/* Makes the calling thread's own stack a coroutine that can be switched from. */
void coil__coro_init_thread(coil__coro *c);

/* A coroutine that will run entry(arg) on @stack (borrowed) when it is first switched to. */
void coil__coro_init(coil__coro *c, coil__stack *stack, bool fp_control, coil__coro_entry *entry, void *arg);

/* The switch for coroutines with control words of their own, and in sanitizer builds for all. */
void coil__coro_switch_slow(coil__coro *from, coil__coro *to);

/* Suspends @from, which is running, and runs @to. Returns when somebody switches to @from. */
static inline void coil__coro_switch(coil__coro *from, coil__coro *to)
{
#if defined(COIL_ASAN) || defined(COIL_TSAN)
    coil__coro_switch_slow(from, to);
#else
    if (coil_unlikely(from->fp_control | to->fp_control))
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
    if (coil_likely(!(from->fp_control | to->fp_control)))
        coil__arch_jump(to->sp);
#endif
    coil__coro_leave_slow(from, to);
}

#endif
