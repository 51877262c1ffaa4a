/*
 * coro.c - entry, the rare kinds of switch, and what sanitizers are told of it
 *
 * Called by the loop and by async generators on the thread that runs the coroutine being left. Control words: a
 * coroutine with fp_control keeps its own in the frame of the switch that suspended it; the others share those of the
 * thread, which are kept aside while one with fp_control runs.
 *
 * Sources: sanitizer/common_interface_defs.h and tsan_interface.h of LLVM 14 (fiber interfaces).
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

void coil__coro_init_thread(coil__coro *c)
{
    *c = (coil__coro){0};
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
    *c = (coil__coro){.stack = stack, .fp_control = fp_control};
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

COIL__UNINSTRUMENTED void coil__coro_switch_slow(coil__coro *from, coil__coro *to)
{
    bool fp_control = from->fp_control;
    coil__arch_fp words = {0};
    if (fp_control | to->fp_control) {
        words = coil__arch_fp_get();
        leave_words(from, words);
    }
    announce(from, to, false);
    coil__arch_switch(&from->sp, to->sp);
    arrived(from);
    if (fp_control)
        coil__arch_fp_set(words);
}

COIL__UNINSTRUMENTED _Noreturn void coil__coro_leave_slow(coil__coro *from, coil__coro *to)
{
    if (from->fp_control | to->fp_control)
        leave_words(from, coil__arch_fp_get());
    announce(from, to, true);
    coil__arch_jump(to->sp);
}
