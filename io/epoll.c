/*
 * epoll.c - the epoll backend: readiness turned into completions
 *
 * An operation is tried at once, unless nothing can be there yet; if it would block it waits in its
 * descriptor's slot, and wait() makes the system call when epoll reports the descriptor. Registrations are
 * level-triggered and lazy: one stays when its operation has completed, since the next is likely to follow, and
 * is taken back when an event finds nobody waiting for it; at once if the operation says `once`.
 *
 * In a runtime a descriptor may be watched by several workers, and closed by any of them. Slots and operations are
 * touched under the backend's latch (backend.h), one event or call at a time.
 *
 * I1 slot->armed is what epoll watches for that descriptor: a superset of what operations wait for
 * I2 a descriptor is forgotten, by all workers' backends, before it is closed: its number may come back as another
 *    file. An event that was collected before carries the slot's round of then, and is dropped
 *
 * Source: epoll(7), epoll_wait(2).
 */
#define _GNU_SOURCE /* epoll_pwait2 */
#include "epoll.h"

#include <coil/errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../src/base/alloc.h"

#define EVENTS_MAX COIL__BATCH
#define EVENTS_FOR_OTHERS 32
#define SLOTS_PER_CHUNK 64u
#define OUTCOMES (uint32_t)(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP) /* the same numbers as POLLIN, ... */

enum direction { IN, OUT };

typedef struct slot {
    coil__list waiting[2]; /* operations, by direction, oldest first */
    uint32_t armed;        /* I1 */
    uint32_t round;        /* I2: how often the descriptor was forgotten */
} slot;

typedef struct epoll_backend {
    coil__backend base;
    slot **chunks;   /* by descriptor / SLOTS_PER_CHUNK; NULL: no descriptor of that range was used */
    size_t chunk_count;
    int epoll_fd, wake_fd;
    bool no_pwait2; /* the kernel has no epoll_pwait2: milliseconds have to do */
    struct epoll_event events[EVENTS_MAX];
} epoll_backend;

static inline epoll_backend *epoll_of(coil__backend *b)
{
    return coil_container_of(b, epoll_backend, base);
}

/* --- what epoll gives back -------------------------------------------------------------------------------------- */

static struct epoll_event event_for(int fd, uint32_t round, uint32_t events)
{
    return (struct epoll_event){.events = events, .data.u64 = (uint64_t)round << 32 | (uint32_t)fd};
}

static int fd_of(const struct epoll_event *ev)
{
    return (int)(uint32_t)ev->data.u64;
}

static uint32_t round_of(const struct epoll_event *ev)
{
    return (uint32_t)(ev->data.u64 >> 32);
}

/* --- slots ---------------------------------------------------------------------------------------------------- */

/* The slot of a descriptor, if there is one already. */
static slot *find_slot(epoll_backend *e, int fd)
{
    size_t chunk = (size_t)fd / SLOTS_PER_CHUNK;
    if (fd < 0 || chunk >= e->chunk_count || !e->chunks[chunk])
        return NULL;
    return &e->chunks[chunk][(size_t)fd % SLOTS_PER_CHUNK];
}

static int grow_table(epoll_backend *e, size_t chunk)
{
    if (chunk < e->chunk_count)
        return 0;
    slot **chunks = coil__realloc(e->chunks, (chunk + 1) * sizeof(slot *));
    if (!chunks)
        return -ENOMEM;
    for (size_t i = e->chunk_count; i <= chunk; i++)
        chunks[i] = NULL;
    e->chunks = chunks;
    e->chunk_count = chunk + 1;
    return 0;
}

/* The slot of a descriptor, made if need be; NULL without memory. */
static slot *get_slot(epoll_backend *e, int fd)
{
    size_t chunk = (size_t)fd / SLOTS_PER_CHUNK;
    if (grow_table(e, chunk) < 0)
        return NULL;
    if (!e->chunks[chunk]) {
        slot *slots = coil__calloc(SLOTS_PER_CHUNK * sizeof(slot));
        if (!slots)
            return NULL;
        for (size_t i = 0; i < SLOTS_PER_CHUNK; i++) {
            coil__list_init(&slots[i].waiting[IN]);
            coil__list_init(&slots[i].waiting[OUT]);
        }
        e->chunks[chunk] = slots;
    }
    return &e->chunks[chunk][(size_t)fd % SLOTS_PER_CHUNK];
}

/* Makes epoll watch exactly @events: I1. 0 or a negative errno. */
static int arm(epoll_backend *e, slot *s, int fd, uint32_t events)
{
    if (s->armed == events)
        return 0;
    struct epoll_event ev = event_for(fd, s->round, events);
    int op = s->armed == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (epoll_ctl(e->epoll_fd, op, fd, &ev) < 0)
        return -errno;
    s->armed = events;
    return 0;
}

/* --- operations ----------------------------------------------------------------------------------------------- */

static enum direction direction_of(const struct coil__op *op)
{
    return coil__op_events(op) & EPOLLOUT ? OUT : IN;
}

static const uint32_t event_of[2] = {[IN] = EPOLLIN, [OUT] = EPOLLOUT};

/* Puts an operation that would block into its slot. 0 or a negative errno. */
static int wait_in_slot(epoll_backend *e, struct coil__op *op)
{
    slot *s = get_slot(e, op->fd);
    if (!s)
        return -ENOMEM;
    enum direction d = direction_of(op);
    COIL_TRY(arm(e, s, op->fd, s->armed | event_of[d]));
    coil__list_append(&s->waiting[d], &op->flight);
    return 0;
}

/* It waits, or it has completed. */
static void settle(epoll_backend *e, struct coil__op *op, int res)
{
    bool waits = false;
    if (res == -EAGAIN) {
        res = wait_in_slot(e, op);
        waits = res == 0;
    }
    if (!waits)
        coil__op_complete(&e->base, op, res);
}

static void begin(coil__backend *b, struct coil__op *op)
{
    COIL__GUARD(&b->latch);
    coil__op_begin(b, op);
}

static void epoll_submit(coil__backend *b, struct coil__op *op)
{
    begin(b, op);
    int res = op->wait_first ? -EAGAIN : coil__op_try(op);
    COIL__GUARD(&b->latch);
    settle(epoll_of(b), op, res);
}

static void epoll_cancel(coil__backend *b, struct coil__op *op)
{
    epoll_backend *e = epoll_of(b);
    int fd = op->fd;
    enum direction d = direction_of(op);
    bool once = op->once;
    coil__op_complete(b, op, -ECANCELED);
    slot *s = once ? find_slot(e, fd) : NULL;
    if (s && coil__list_empty(&s->waiting[d]))
        (void)arm(e, s, fd, s->armed & ~event_of[d]);
}

static void epoll_forget(coil__backend *b, int fd)
{
    epoll_backend *e = epoll_of(b);
    COIL__GUARD(&b->latch);
    slot *s = find_slot(e, fd);
    if (!s)
        return;
    (void)arm(e, s, fd, 0);
    s->armed = 0; /* also if epoll did not know it any more */
    s->round++;   /* I2 */
}

/* --- events --------------------------------------------------------------------------------------------------- */

/*
 * Makes the system calls of those who wait in one direction, until one would block. @events: what has come true. Whether
 * that is to be watched further: not if nobody was waiting, or if the last one wants nothing kept.
 */
static bool serve(epoll_backend *e, slot *s, enum direction d, uint32_t events)
{
    bool wanted = false;
    coil__list_foreach_safe(&s->waiting[d], n, next) {
        struct coil__op *op = coil_container_of(n, struct coil__op, flight);
        int res = op->kind == COIL__OP_POLL ? (int)(events & OUTCOMES) : coil__op_try(op);
        if (res == -EAGAIN)
            return true;
        wanted = !op->once;
        coil__op_complete(&e->base, op, res);
    }
    return wanted;
}

/* An event that nobody waits for any more: stop watching for it, or it would be reported for ever. */
static void disarm_unwanted(epoll_backend *e, slot *s, int fd, bool wanted_in, bool wanted_out)
{
    uint32_t keep = s->armed;
    if (!wanted_in)
        keep &= ~(uint32_t)EPOLLIN;
    if (!wanted_out)
        keep &= ~(uint32_t)EPOLLOUT;
    (void)arm(e, s, fd, keep);
}

static void handle_event(epoll_backend *e, const struct epoll_event *ev)
{
    int fd = fd_of(ev);
    COIL__GUARD(&e->base.latch);
    slot *s = find_slot(e, fd);
    if (!s || s->round != round_of(ev)) /* I2 */
        return;
    bool failed = ev->events & (EPOLLERR | EPOLLHUP);
    bool in = failed || (ev->events & EPOLLIN), out = failed || (ev->events & EPOLLOUT);
    /* A socket tells its error once: to who reads, as in asyncio. Who writes is served when that has run, if still there. */
    bool reader_first = failed && !coil__list_empty(&s->waiting[IN]);
    bool wanted_in = !in || serve(e, s, IN, ev->events & ~(uint32_t)EPOLLOUT);
    bool wanted_out = !out || (reader_first ? !coil__list_empty(&s->waiting[OUT])
                                            : serve(e, s, OUT, ev->events & ~(uint32_t)EPOLLIN));
    disarm_unwanted(e, s, fd, wanted_in, wanted_out);
}

static void empty_wake_fd(epoll_backend *e)
{
    uint64_t count;
    ssize_t n = read(e->wake_fd, &count, sizeof count);
    (void)n; /* somebody else may have emptied it */
}

static int wait_ms(epoll_backend *e, int64_t timeout_ns)
{
    int64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0); /* rounded up: not before the deadline */
    int timeout = timeout_ns == COIL_FOREVER ? -1 : ms > INT32_MAX ? INT32_MAX : (int)ms;
    int n = epoll_wait(e->epoll_fd, e->events, EVENTS_MAX, timeout);
    return n < 0 ? -errno : n;
}

static int wait_events(epoll_backend *e, int64_t timeout_ns)
{
    coil__backend_count(&e->base.counters.kernel_waits, 1);
    if (timeout_ns == 0 || timeout_ns == COIL_FOREVER || e->no_pwait2)
        return wait_ms(e, timeout_ns);
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int n = epoll_pwait2(e->epoll_fd, e->events, EVENTS_MAX, &ts, NULL);
    int error = n < 0 ? errno : 0;
    if (error != ENOSYS && error != EPERM) /* EPERM: a seccomp filter that does not know it */
        return n < 0 ? -error : n;
    e->no_pwait2 = true;
    return wait_ms(e, timeout_ns);
}

/* Before a wait: whether it has to be made at all, and may block. */
static bool prepare_wait(coil__backend *b, int64_t *timeout_ns)
{
    COIL__GUARD(&b->latch);
    if (!coil__list_empty(&b->asked))
        coil__op_cancel_asked(b);
    if (b->done_count > 0)
        *timeout_ns = 0;
    return b->waiting = *timeout_ns != 0 || load_relaxed(&b->in_flight) > b->done_count; /* [BACKEND-1] */
}

static void finish_wait(coil__backend *b, coil__list *ready)
{
    COIL__GUARD(&b->latch);
    b->waiting = false;
    coil__op_deliver(b, ready);
}

static int epoll_wait_for(coil__backend *b, int64_t timeout_ns, coil__list *ready)
{
    epoll_backend *e = epoll_of(b);
    int n = 0;
    if (prepare_wait(b, &timeout_ns))
        n = wait_events(e, timeout_ns);
    for (int i = 0; i < n; i++) {
        if (fd_of(&e->events[i]) == e->wake_fd)
            empty_wake_fd(e);
        else
            handle_event(e, &e->events[i]);
    }
    finish_wait(b, ready);
    return n < 0 && n != -EINTR ? n : 0;
}

static bool may_reap_for(coil__backend *b)
{
    COIL__GUARD(&b->latch);
    return b->shared && !b->waiting;
}

/*
 * Anybody may wait for events; the owner may have begun to do so meanwhile, which does no harm: both look
 * what is there.
 */
static int epoll_reap_for(coil__backend *b, coil__list *ready)
{
    epoll_backend *e = epoll_of(b);
    struct epoll_event events[EVENTS_FOR_OTHERS];
    if (!may_reap_for(b))
        return 0;
    int n = epoll_wait(e->epoll_fd, events, EVENTS_FOR_OTHERS, 0);
    for (int i = 0; i < n; i++)
        if (fd_of(&events[i]) != e->wake_fd) /* the owner has to see that itself */
            handle_event(e, &events[i]);
    COIL__GUARD(&b->latch);
    return (int)coil__op_deliver(b, ready);
}

static bool epoll_has_completed(coil__backend *b)
{
    struct pollfd events = {.fd = epoll_of(b)->epoll_fd, .events = POLLIN};
    return may_reap_for(b) && poll(&events, 1, 0) > 0;
}

/* --- making, closing ------------------------------------------------------------------------------------------ */

static int epoll_attach(coil__backend *b)
{
    (void)b; /* an epoll instance belongs to no thread */
    return 0;
}

static void epoll_detach(coil__backend *b)
{
    (void)b;
}

static void cancel_waiting(epoll_backend *e, coil__list *waiting)
{
    while (!coil__list_empty(waiting)) {
        struct coil__op *op = coil_container_of(coil__list_first(waiting), struct coil__op, flight);
        op->cancelled = true;
        coil__op_complete(&e->base, op, -ECANCELED);
    }
}

static void epoll_close(coil__backend *b, coil__list *ready)
{
    epoll_backend *e = epoll_of(b);
    for (size_t i = 0; i < e->chunk_count; i++) {
        for (size_t j = 0; e->chunks[i] && j < SLOTS_PER_CHUNK; j++) {
            cancel_waiting(e, &e->chunks[i][j].waiting[IN]);
            cancel_waiting(e, &e->chunks[i][j].waiting[OUT]);
        }
        coil__free(e->chunks[i]);
    }
    coil__op_deliver(b, ready);
    coil_debug_assert(!coil__backend_busy(b));
    coil__free(e->chunks);
    close(e->epoll_fd);
    coil__backend_fini(b);
    coil__free(e);
}

static const coil__backend_ops epoll_ops = {
    .name = "epoll",
    .wait = epoll_wait_for,
    .submit = epoll_submit,
    .cancel = epoll_cancel,
    .forget = epoll_forget,
    .attach = epoll_attach,
    .detach = epoll_detach,
    .reap_for = epoll_reap_for,
    .has_completed = epoll_has_completed,
    .close = epoll_close,
};

int coil__epoll_open(int ring_mode, int wake_fd, coil__backend **b)
{
    epoll_backend *e = coil__calloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    coil__backend_init(&e->base, &epoll_ops, ring_mode);
    e->wake_fd = wake_fd;
    struct epoll_event ev = event_for(wake_fd, 0, EPOLLIN);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = e->epoll_fd < 0 ? -errno : 0;
    if (rc == 0 && epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, wake_fd, &ev) < 0) {
        rc = -errno;
        close(e->epoll_fd);
    }
    if (rc < 0) {
        coil__free(e);
        return rc;
    }
    *b = &e->base;
    return 0;
}
