/*
 * stack_overflow.c - says by name which task overflowed its stack, then lets the process die of the signal
 *
 * watch and unwatch are called by every thread that runs coroutines; the handler runs on whatever thread faulted, on its
 * alternate stack, and makes async-signal-safe calls only (signal-safety(7)).
 *
 * I1 watch.current is NULL, or points to where this thread keeps the stack that it runs on
 * I2 a user's alternate stack is never replaced; ours is freed when the thread ends, if it is still in place
 * I3 the handler changes nothing unless the program is lost: what was installed before it gets every signal
 */
#define _GNU_SOURCE
#include "stack.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct watch {
    coil__stack *const volatile *current; /* I1 */
    void *alternate;                      /* ours, or NULL */
};

enum { ALTERNATE_BYTES = 64 * 1024 }; /* handlers that are chained to may print a lot */

static _Thread_local struct watch watch __attribute__((tls_model("initial-exec")));
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static struct sigaction previous_segv, previous_bus;
static size_t page_bytes;

/* Opaque: the calling thread's. */
static __attribute__((noinline)) struct watch *watch_get(void)
{
    struct watch *w = &watch;
    __asm__ volatile("" : "+r"(w));
    return w;
}

/* --- the report --- */

struct text {
    char data[256];
    size_t length;
};

static void add(struct text *t, const char *s)
{
    size_t room = sizeof t->data - t->length, length = strnlen(s, room);
    memcpy(t->data + t->length, s, length);
    t->length += length;
}

static void add_number(struct text *t, size_t n)
{
    char digits[24], *p = digits + sizeof digits - 1;
    *p = '\0';
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    add(t, p);
}

static void report(const coil__stack *s)
{
    char name[128] = "";
    struct text t = {.length = 0};
    if (s->overflow_name)
        s->overflow_name(s->owner, name, sizeof name);
    name[sizeof name - 1] = '\0';
    add(&t, "coil: ");
    add(&t, name[0] ? "task '" : "a coroutine");
    add(&t, name);
    add(&t, name[0] ? "'" : "");
    add(&t, " overflowed its ");
    add_number(&t, s->bytes / 1024);
    add(&t, " KiB stack\n");
    for (size_t done = 0; done < t.length;) {
        ssize_t n = write(STDERR_FILENO, t.data + done, t.length - done);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

static bool in_guard(const coil__stack *s, const void *address)
{
    return (uintptr_t)s->base - (uintptr_t)address - 1 < page_bytes; /* wraps around for addresses above */
}

/* --- the handler --- */

/* Back to the default, so that the fault, when it repeats, ends the process with the right status. */
static void die_of(int sig, const siginfo_t *info)
{
    signal(sig, SIG_DFL);
    if (info->si_code <= 0)
        raise(sig); /* sent by somebody: nothing would repeat. Delivered when the handler returns. */
}

static void chain(int sig, siginfo_t *info, void *context)
{
    struct sigaction *previous = sig == SIGSEGV ? &previous_segv : &previous_bus;
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(sig, info, context);
    else if (previous->sa_handler == SIG_DFL || (previous->sa_handler == SIG_IGN && info->si_code > 0))
        die_of(sig, info);
    else if (previous->sa_handler != SIG_IGN)
        previous->sa_handler(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    struct watch *w = watch_get();
    const coil__stack *s = w->current ? *w->current : NULL;
    if (s && info->si_code > 0 && in_guard(s, info->si_addr))
        report(s);
    chain(sig, info, context);
    errno = saved;
}

/* --- threads --- */

static void free_alternate(void *memory)
{
    stack_t now;
    watch_get()->alternate = NULL;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == memory && !(now.ss_flags & SS_DISABLE))
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL); /* I2 */
    munmap(memory, ALTERNATE_BYTES);
}

static void init_once(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    int rc = pthread_key_create(&exit_key, free_alternate);
    coil_assert(rc == 0);
    /* What is chained to is known before the handler can run. */
    sigaction(SIGSEGV, NULL, &previous_segv);
    sigaction(SIGBUS, NULL, &previous_bus);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

static int install_alternate(struct watch *w)
{
    void *memory = mmap(NULL, ALTERNATE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    if (pthread_setspecific(exit_key, memory) != 0) {
        munmap(memory, ALTERNATE_BYTES);
        return -ENOMEM;
    }
    w->alternate = memory;
    return 0;
}

int coil__stack_watch_thread(coil__stack *const volatile *current)
{
    pthread_once(&once, init_once);
    struct watch *w = watch_get();
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE)) {
        if (!w->alternate && install_alternate(w) < 0)
            return -ENOMEM;
        sigaltstack(&(stack_t){.ss_sp = w->alternate, .ss_size = ALTERNATE_BYTES}, NULL);
    }
    w->current = current;
    return 0;
}

void coil__stack_unwatch_thread(void)
{
    watch_get()->current = NULL;
}
