/*
 * watchdog.c - says which task or callback holds its worker for too long, and where: see watchdog.h
 *
 * enter, rest and rise are called on the workers' threads, start and stop where the runtime is made and closed; the
 * rest runs on the watchdog's thread, but for the signal handler. That makes async-signal-safe calls only; backtrace()
 * is one once it has been called outside a handler (backtrace(3)).
 *
 * I1 to I4: see watchdog.h
 */
#include "worker.h"

#include <coil/errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../src/base/clock.h"
#include "../src/error.h"
#include "../src/executor.h"

enum { LOOK_EVERY_MIN_MS = 10, RESCUE_EVERY_US = 250, PATIENCE_MS = 1000 };

/* What a worker has begun so far: handles, and sleeps, lest one that gets up for nothing is taken for stalled. */
static uint64_t beat_of(const coil__worker *w)
{
    return load_relaxed(&w->loop->handles_run) + load_relaxed(&w->parks); /* [WS-1] */
}

/* --- the handler: on the worker's thread ------------------------------------------------------------------------ */

static pthread_mutex_t signal_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the next three */
static int signal_number, signal_users;
static struct sigaction signal_before;
static _Atomic int signals_sent; /* I4: and not arrived. [WD-6] relaxed: only the number counts */

/* The name, unless it is being changed just now: then the number has to do. */
static void copy_name(coil__sample *s, coil__task *t)
{
    bool locks = coil__is_parallel();
    s->name[0] = '\0';
    if (locks && exchange_acquire(&t->future.latch.held, 1) != 0) /* [LATCH-1] once: this very thread may hold it */
        return;
    for (size_t i = 0; t->name && i < sizeof s->name - 1; i++) {
        s->name[i] = t->name[i];
        s->name[i + 1] = '\0';
        if (!t->name[i])
            break;
    }
    if (locks)
        store_release(&t->future.latch.held, 0); /* [LATCH-1] */
}

static const void *interrupted_at(const void *context)
{
    const ucontext_t *u = context;
#if defined(__x86_64__)
    return (const void *)u->uc_mcontext.gregs[REG_RIP];
#else
    return (const void *)u->uc_mcontext.pc;
#endif
}

/* The frames below the handler's own. */
static void copy_frames(coil__sample *s, const void *context)
{
    int n = backtrace(s->frames, COIL_STALL_FRAMES), first = 0;
    while (first < n && s->frames[first] != interrupted_at(context))
        first++;
    if (first == n) /* a tool has called the handler on its own terms */
        first = 0;
    s->frame_count = n - first;
    memmove(s->frames, s->frames + first, (size_t)s->frame_count * sizeof *s->frames);
}

static void take_sample(coil__watchdog *dog, const coil__worker *w, const void *context)
{
    coil__sample *s = &dog->sample;
    coil__task *t = coil__current()->task;
    s->gone = beat_of(w) != dog->asked_beat;
    s->task = t != NULL;
    s->frame_count = 0;
    if (s->gone)
        return;
    copy_frames(s, context);
    if (!t)
        return;
    copy_name(s, t);
    s->number = t->number;
    s->fn_name = t->fn_name;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)number;
    if (info->si_code == SI_TKILL)
        fetch_sub_acq_rel(&signals_sent, 1); /* [WD-6] */
    const coil_loop *loop = coil__current()->loop;
    coil__worker *w = loop && loop->place == &coil__workers_place ? loop->worker : NULL;
    coil__watchdog *dog = w ? &w->runtime->watchdog : NULL;
    uint32_t asked = w ? 2 * (w->number + 1) : 0;
    /* [WD-4] as an acquire: asked_beat. Whoever is not asked any more, or never was, leaves it at that (I3). */
    if (dog && cas_strong_seq_cst(&dog->ask, &asked, asked + 1)) {
        take_sample(dog, w, context);
        store_release(&dog->ask, COIL_ASK_ANSWERED); /* [WD-4] release: the sample; I1 */
        sem_post(&dog->bell);
    }
    errno = saved;
}

/* --- the signal ------------------------------------------------------------------------------------------------- */

/* Installs the handler for a real-time signal without one. 0: there is none. */
static int install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    void *frame;
    (void)backtrace(&frame, 1); /* loads what it needs */
    sigemptyset(&action.sa_mask);
    for (int n = SIGRTMAX - 1; n >= SIGRTMIN; n--) {
        if (sigaction(n, NULL, &signal_before) < 0 || (signal_before.sa_flags & SA_SIGINFO) ||
            signal_before.sa_handler != SIG_DFL)
            continue;
        if (sigaction(n, &action, NULL) == 0)
            return n;
    }
    return 0;
}

static int take_signal(void)
{
    pthread_mutex_lock(&signal_mutex);
    if (signal_number == 0)
        signal_number = install();
    signal_users += signal_number != 0;
    int number = signal_number;
    pthread_mutex_unlock(&signal_mutex);
    return number;
}

static void give_signal_back(void)
{
    pthread_mutex_lock(&signal_mutex);
    if (--signal_users == 0 && load_relaxed(&signals_sent) == 0) { /* [WD-6] I4 */
        (void)sigaction(signal_number, &signal_before, NULL);
        signal_number = 0;
    }
    pthread_mutex_unlock(&signal_mutex);
}

/* --- samples ---------------------------------------------------------------------------------------------------- */

/* False: nobody has rung until @deadline. */
static bool await_bell(coil__watchdog *dog, int64_t deadline)
{
    struct timespec t = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    int rc;
    while ((rc = sem_clockwait(&dog->bell, CLOCK_MONOTONIC, &t)) < 0 && errno == EINTR) {
    }
    return rc == 0;
}

static void await_bell_for_ever(coil__watchdog *dog)
{
    while (sem_wait(&dog->bell) < 0) {
    }
}

static void send(coil__watchdog *dog, const coil__worker *w)
{
    fetch_add_relaxed(&signals_sent, 1);                                            /* [WD-6] */
    if (tgkill(getpid(), load_relaxed(&w->watched.thread), dog->signal) < 0)         /* [WD-3] I3 */
        fetch_sub_acq_rel(&signals_sent, 1);                                        /* [WD-6] */
}

static bool answered(coil__watchdog *dog)
{
    return load_acquire(&dog->ask) == COIL_ASK_ANSWERED; /* [WD-4] */
}

/* Asks @w what it does. False: it has not said, being blocked by its signal mask, or in the depths of the kernel. */
static bool ask(coil__watchdog *dog, const coil__worker *w)
{
    uint32_t asked = 2 * (w->number + 1);
    int64_t deadline = coil__monotonic_ns() + COIL_MS(PATIENCE_MS);
    if (dog->signal == 0)
        return false;
    dog->asked_beat = w->watched.beat;
    store_release(&dog->ask, asked); /* [WD-4] */
    send(dog, w);
    while (!answered(dog) && await_bell(dog, deadline)) {
    }
    if (!answered(dog) && cas_strong_relaxed(&dog->ask, &asked, COIL_ASK_NOTHING)) /* [WD-4] relaxed: nothing done */
        return false;
    while (!answered(dog)) /* it is about to */
        await_bell_for_ever(dog);
    return true;
}

/* --- what a thread does ----------------------------------------------------------------------------------------- */

/* Its time on a CPU; 0 if it has ended. */
static int64_t cpu_time(const coil__watched *x)
{
    struct timespec t;
    if (clock_gettime(load_relaxed(&x->cpu_clock), &t) < 0) /* [WD-3] */
        return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The letter that proc(5) has for it; '?' if that cannot be told. */
static char state_letter(const coil__watched *x)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", load_relaxed(&x->thread)); /* [WD-3] */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return '?';
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *end = strrchr(text, ')'); /* of the name, which may have any character in it */
    return end && end[1] == ' ' ? end[2] : '?';
}

static const char *doing(const coil__watched *x, int64_t duration)
{
    if (cpu_time(x) - x->cpu_since >= duration / 2)
        return "computing";
    char letter = state_letter(x);
    return letter == 'S' || letter == 'D' ? "blocked in a system call" : "waiting for a CPU";
}

/* --- reports ---------------------------------------------------------------------------------------------------- */

/* "task 'name' fn=work" */
static void describe(const coil__sample *s, char *buf, size_t size)
{
    char name[COIL_STALL_NAME];
    if (s->gone || !s->task) {
        snprintf(buf, size, "%s", s->gone ? "what has just ended" : "a callback");
        return;
    }
    if (s->name[0])
        snprintf(name, sizeof name, "%s", s->name);
    else
        snprintf(name, sizeof name, "Task-%llu", (unsigned long long)s->number);
    snprintf(buf, size, "task '%s' fn=%s", name, s->fn_name ? s->fn_name : "?");
}

static void print_frames(const coil__sample *s)
{
    char **lines = backtrace_symbols(s->frames, s->frame_count);
    for (int i = 0; lines && i < s->frame_count; i++)
        fprintf(stderr, "  #%d %s\n", i, lines[i]);
    free(lines);
}

static void print(const coil__worker *w, const char *what, const char *how, int64_t duration, const coil__sample *s)
{
    flockfile(stderr);
    fprintf(stderr, "coil: %s has held worker %u for %.2f s, %s\n", what, w->number, (double)duration / 1e9, how);
    if (s)
        print_frames(s);
    funlockfile(stderr);
}

static void report(coil__watchdog *dog, coil__worker *w, int64_t duration)
{
    char what[256];
    coil_loop *facade = dog->runtime->facade;
    const coil_loop_options *o = &facade->options;
    const char *how = doing(&w->watched, duration); /* before the signal changes it */
    coil__worker_add(&w->stalls, 1);
    const coil__sample *sample = ask(dog, w) ? &dog->sample : NULL;
    if (sample)
        describe(sample, what, sizeof what);
    else
        snprintf(what, sizeof what, "something that takes no signal");
    if (o->slow_callback_handler)
        o->slow_callback_handler(facade, what, duration, o->handler_arg);
    else
        print(w, what, how, duration, sample);
    store_relaxed(&dog->ask, COIL_ASK_NOTHING); /* [WD-4] relaxed: the watchdog asks next */
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

/* Whether workers collect what completes for others. One worker takes no latches: nobody may look at its backend. */
static bool can_rescue(const coil_runtime *rt)
{
    return rt->count > 1 && rt->options.ring_mode == COIL_RING_SHARED;
}

static void begin_watch(coil__watched *x, uint64_t beat, int64_t now)
{
    x->reported = x->known && beat == x->beat && x->reported;
    x->known = true;
    x->beat = beat;
    x->since = now;
    x->cpu_since = cpu_time(x);
}

static void look_at(coil__watchdog *dog, coil__worker *w, int64_t now, bool afresh)
{
    coil__watched *x = &w->watched;
    if (load_seq_cst(&x->resting)) { /* [WD-1] */
        x->known = false;
        return;
    }
    uint64_t beat = beat_of(w);
    if (afresh || !x->known || beat != x->beat) {
        begin_watch(x, beat, now);
        return;
    }
    if (coil__worker_sees_work(w) || (can_rescue(dog->runtime) && coil__worker_needs_rescue(w)))
        coil__runtime_wake_one(dog->runtime); /* what it has woken last nobody was told of (place.c) */
    if (!x->reported && now - x->since >= dog->runtime->options.stall_ns) {
        x->reported = true;
        report(dog, w, now - x->since);
    }
}

static void look(coil__watchdog *dog)
{
    coil_runtime *rt = dog->runtime;
    int64_t now = coil__monotonic_ns();
    /* What keeps the watchdog from looking may keep the workers, too: a debugger, a Ctrl-Z, a busy machine. */
    bool afresh = now - dog->looked - COIL_MS(LOOK_EVERY_MIN_MS) > rt->options.stall_ns;
    for (unsigned i = 0; i < rt->count; i++)
        look_at(dog, &rt->workers[i], now, afresh);
    dog->looked = coil__monotonic_ns();
}

static bool all_rest(const coil_runtime *rt)
{
    for (unsigned i = 0; i < rt->count; i++)
        if (!load_seq_cst(&rt->workers[i].watched.resting)) /* [WD-1] */
            return false;
    return true;
}

static bool stopping(const coil__watchdog *dog)
{
    return load_acquire(&dog->stopping); /* [WD-5] */
}

/* Until a worker gets up. A bell that was rung for something else, or late, is no harm. */
static void sleep_while_all_rest(coil__watchdog *dog)
{
    store_seq_cst(&dog->asleep, true); /* [WD-2] */
    if (all_rest(dog->runtime) && !stopping(dog))
        await_bell_for_ever(dog);
    store_seq_cst(&dog->asleep, false); /* [WD-2] */
}

/* More often if it has to find out who needs help with what the kernel has completed. */
static int64_t look_every(const coil_runtime *rt)
{
    if (can_rescue(rt))
        return COIL_US(RESCUE_EVERY_US);
    int64_t every = rt->options.stall_ns / 4;
    return every < COIL_MS(LOOK_EVERY_MIN_MS) ? COIL_MS(LOOK_EVERY_MIN_MS) : every;
}

/* Goes to sleep when all workers have rested for LOOK_EVERY_MIN_MS, since they often do for a moment. */
static void *watch(void *arg)
{
    coil__watchdog *dog = arg;
    int64_t every = look_every(dog->runtime), rested_since = 0;
    while (!stopping(dog)) {
        int64_t now = coil__monotonic_ns();
        if (!all_rest(dog->runtime))
            rested_since = now;
        if (now - rested_since >= COIL_MS(LOOK_EVERY_MIN_MS))
            sleep_while_all_rest(dog);
        look(dog);
        (void)await_bell(dog, coil__monotonic_ns() + every);
    }
    return NULL;
}

void coil__watchdog_ring(coil__watchdog *dog)
{
    if (exchange_seq_cst(&dog->asleep, false)) /* [WD-2] of several that get up one rings */
        sem_post(&dog->bell);
}

void coil__watchdog_enter(coil__watchdog *dog, coil__watched *w)
{
    clockid_t clock = CLOCK_MONOTONIC;
    (void)pthread_getcpuclockid(pthread_self(), &clock);
    store_relaxed(&w->thread, gettid()); /* [WD-3] relaxed: rise publishes both */
    store_relaxed(&w->cpu_clock, clock); /* [WD-3] */
    coil__watchdog_rise(dog, w);
}

/* --- starting and stopping -------------------------------------------------------------------------------------- */

static int start_thread(coil__watchdog *dog)
{
    int rc = coil__thread_start(&dog->thread, watch, dog);
    return rc == 0 ? 0 : coil_raise(rc, "cannot start the watchdog's thread");
}

static void release(coil__watchdog *dog)
{
    if (dog->signal != 0)
        give_signal_back();
    sem_destroy(&dog->bell);
}

int coil__watchdog_start(coil_runtime *rt)
{
    coil__watchdog *dog = &rt->watchdog;
    dog->runtime = rt;
    for (unsigned i = 0; i < rt->count; i++)
        store_seq_cst(&rt->workers[i].watched.resting, true); /* [WD-1] */
    bool wanted = rt->options.stall_ns != COIL_FOREVER || can_rescue(rt);
    if (!wanted || rt->options.loop.clock)
        return 0;
    sem_init(&dog->bell, 0, 0);
    dog->signal = take_signal();
    dog->looked = coil__monotonic_ns();
    int rc = start_thread(dog);
    dog->started = rc == 0;
    if (rc < 0)
        release(dog);
    return rc;
}

void coil__watchdog_stop(coil_runtime *rt)
{
    coil__watchdog *dog = &rt->watchdog;
    if (!dog->started)
        return;
    store_release(&dog->stopping, true); /* [WD-5] */
    sem_post(&dog->bell);
    pthread_join(dog->thread, NULL);
    dog->started = false;
    release(dog);
}
