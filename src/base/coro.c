/*
 * coro.c - entry, the rare kinds of switch, and what sanitizers are told of it
 *
 * Called by the loop and by async generators on the thread that runs the coroutine being left. Control words: a
 * coroutine with fp_control keeps its own in the frame of the switch that suspended it; the others share those of the
 * thread, which are kept aside while one with fp_control runs. C++'s exceptions in flight lie in the switch's frame too.
 *
 * Sources: Itanium C++ ABI, exception handling 2.2.2; sanitizer/common_interface_defs.h and tsan_interface.h of LLVM 14
 * (fiber interfaces).
 */
#define _GNU_SOURCE
#include "coro.h"

#ifdef COIL_ASAN
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef COIL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* A switch must not be instrumented, nor what it calls: it begins on one stack and ends on another. */
#if defined(COIL_TSAN) && defined(__clang__)
#define COIL__UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#elif defined(COIL_ASAN)
#define COIL__UNINSTRUMENTED __attribute__((no_sanitize_address))
#else
#define COIL__UNINSTRUMENTED
#endif

/*
 * Not inlined: what lies in thread-local memory must not be kept in registers around a switch, after which the coroutine may
 * be on another thread.
 */
#if defined(__GNUC__) && !defined(__clang__)
#define COIL__OPAQUE __attribute__((noipa))
#else
#define COIL__OPAQUE __attribute__((noinline))
#endif

/* The control words of the coroutines without words of their own, while one with runs. */
static _Thread_local coil__arch_fp shared_words __attribute__((tls_model("initial-exec")));

#ifdef COIL_ASAN

static COIL__UNINSTRUMENTED void announce(coil__coro *from, coil__coro *to, bool last)
{
    /* NULL: the fake stack goes with the coroutine. */
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->bottom, to->size);
}

static COIL__UNINSTRUMENTED void arrived(coil__coro *c)
{
    __sanitizer_finish_switch_fiber(c ? c->fake_stack : NULL, NULL, NULL);
}

static void init_sanitizers(coil__coro *c)
{
    c->fake_stack = NULL;
    c->bottom = c->stack->base;
    c->size = (size_t)(c->stack->top - c->stack->base);
}

static void init_sanitizers_thread(coil__coro *c)
{
    pthread_attr_t attr;
    void *bottom = NULL;
    int rc = pthread_getattr_np(pthread_self(), &attr);
    coil_assert(rc == 0);
    pthread_attr_getstack(&attr, &bottom, &c->size);
    pthread_attr_destroy(&attr);
    c->bottom = bottom;
    c->fake_stack = NULL;
}

#elif defined(COIL_TSAN)

static COIL__UNINSTRUMENTED void announce(coil__coro *from, coil__coro *to, bool last)
{
    (void)from, (void)last;
    __tsan_switch_to_fiber(to->fiber, 0);
}

static COIL__UNINSTRUMENTED void arrived(coil__coro *c)
{
    (void)c;
}

/*
 * Fibers are dear, so they are recycled with their stacks. A coroutine that leaves does not return from its functions,
 * which the fiber's shadow stack would remember; hence now and then a new one.
 */
static void init_sanitizers(coil__coro *c)
{
    coil__stack *s = c->stack;
    if (s->tsan_fiber && ++s->tsan_uses % 512 == 0) {
        __tsan_destroy_fiber(s->tsan_fiber);
        s->tsan_fiber = NULL;
    }
    if (!s->tsan_fiber)
        s->tsan_fiber = __tsan_create_fiber(0);
    c->fiber = s->tsan_fiber;
}

static void init_sanitizers_thread(coil__coro *c)
{
    c->fiber = __tsan_get_current_fiber();
}

#else

static inline void announce(coil__coro *from, coil__coro *to, bool last)
{
    (void)from, (void)to, (void)last;
}

static inline void arrived(coil__coro *c)
{
    (void)c;
}

static inline void init_sanitizers(coil__coro *c)
{
    (void)c;
}

static inline void init_sanitizers_thread(coil__coro *c)
{
    (void)c;
}

#endif

/* --- C++ ------------------------------------------------------------------------------------------------------------- */

/* NULL unless the program is linked with C++'s runtime library (jemalloc is). */
extern void *__cxa_get_globals(void) __attribute__((weak));

static coil__cxx_state no_exceptions; /* of all threads without C++; nobody writes there */

/* I4. Addresses of programs have at most 56 bits. */
static uint64_t traits_of_thread(void)
{
    const void *state = __cxa_get_globals ? __cxa_get_globals() : &no_exceptions;
    return (uint64_t)(uintptr_t)state << 8;
}

/* Takes what @from has in flight off its thread. */
static COIL__UNINSTRUMENTED coil__cxx_state take_exceptions(const coil__coro *from)
{
    coil__cxx_state *x = coil__coro_exceptions(from), taken = *x;
    if (taken.caught || taken.uncaught)
        *x = (coil__cxx_state){NULL, 0};
    return taken;
}

/* To the thread that @c is on now. */
static COIL__UNINSTRUMENTED void put_exceptions(const coil__coro *c, coil__cxx_state taken)
{
    if (taken.caught || taken.uncaught)
        *coil__coro_exceptions(c) = taken;
}

/* --- coroutines ------------------------------------------------------------------------------------------------------ */

void coil__coro_init_thread(coil__coro *c)
{
    *c = (coil__coro){.traits = traits_of_thread()};
    init_sanitizers_thread(c);
}

#ifdef COIL_ASAN
/* The first C function on a new stack. @record lies at the stack's top. */
static COIL__UNINSTRUMENTED void begin(void *record)
{
    struct coil__arch_call call = *(struct coil__arch_call *)record;
    arrived(NULL);
    call.entry(call.arg);
}

static struct coil__arch_call first_call(char **top, coil__coro_entry *entry, void *arg)
{
    struct coil__arch_call *record = (struct coil__arch_call *)(void *)*top - 1;
    *record = (struct coil__arch_call){entry, arg};
    *top = (char *)record;
    return (struct coil__arch_call){begin, record};
}
#else
static struct coil__arch_call first_call(char **top, coil__coro_entry *entry, void *arg)
{
    (void)top;
    return (struct coil__arch_call){entry, arg};
}
#endif

void coil__coro_init(coil__coro *c, coil__stack *stack, bool fp_control, coil__coro_entry *entry, void *arg)
{
    coil_debug_assert((uintptr_t)stack->top % 16 == 0);
    *c = (coil__coro){.stack = stack, .traits = fp_control};
    char *top = stack->top;
    struct coil__arch_call first = first_call(&top, entry, arg);
    struct coil__arch_call *call = (struct coil__arch_call *)(void *)top - 1;
    struct coil__arch_frame *frame = (void *)((char *)call - COIL__ARCH_FRAME_BYTES);
    *call = first;
    *frame = (struct coil__arch_frame){.pc = (void *)(uintptr_t)coil__arch_start};
    c->sp = frame;
    init_sanitizers(c);
}

/* The switch out of or into a coroutine with words of its own: @from's are about to be left. */
static void leave_words(const coil__coro *from, coil__arch_fp words)
{
    if (from->fp_control)
        coil__arch_fp_set(shared_words);
    else
        shared_words = words;
}

COIL__UNINSTRUMENTED COIL__OPAQUE void coil__coro_switch_slow(coil__coro *from, coil__coro *to)
{
    bool fp_control = from->fp_control;
    coil__arch_fp words = {0};
    if (fp_control | to->fp_control) {
        words = coil__arch_fp_get();
        leave_words(from, words);
    }
    coil__coro_hand_on(from, to);
    coil__cxx_state in_flight = take_exceptions(from);
    announce(from, to, false);
    coil__arch_switch(&from->sp, to->sp);
    arrived(from);
    put_exceptions(from, in_flight);
    if (fp_control)
        coil__arch_fp_set(words);
}

COIL__UNINSTRUMENTED COIL__OPAQUE _Noreturn void coil__coro_leave_slow(coil__coro *from, coil__coro *to)
{
    if (from->fp_control | to->fp_control)
        leave_words(from, coil__arch_fp_get());
    coil__coro_hand_on(from, to);
    (void)take_exceptions(from); /* of a body that jumped out of a handler */
    announce(from, to, true);
    coil__arch_jump(to->sp);
}
