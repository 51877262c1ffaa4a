/*
 * current.c - the thread-local variable, and the accessor that hides it from the optimiser
 */
#include "current.h"

#include <coil/context.h>
#include <coil/error.h>
#include <pthread.h>

static _Thread_local coil__current_state state;

/*
 * Not inlined, and with a barrier that the compiler cannot look through: the address depends on the thread, and a
 * coroutine may have changed threads since the compiler last computed it.
 */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((noipa))
#endif
__attribute__((noinline)) coil__current_state *
coil__current(void)
{
    coil__current_state *s = &state;
    __asm__ volatile("" : "+r"(s) : : "memory");
    return s;
}

/* --- the end of a thread ------------------------------------------------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;

static void thread_ends(void *arg)
{
    coil__current_state *current = arg;
    coil_error_release(current->error);
    coil_context_release(current->context);
    current->error = NULL;
    current->context = NULL;
    current->owns = false;
}

static void make_key(void)
{
    (void)pthread_key_create(&exit_key, thread_ends); /* without a key a thread's last error stays behind */
}

void coil__current_own(coil__current_state *current)
{
    if (current->owns)
        return;
    current->owns = true;
    pthread_once(&once, make_key);
    (void)pthread_setspecific(exit_key, current);
}
