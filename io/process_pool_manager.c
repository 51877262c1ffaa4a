/*
 * process_pool_manager.c - the thread of a process pool: it gives calls to workers, takes their answers, and sees to
 * it that there are workers
 *
 * One round: give queued calls to workers, tell the server what is due, wait in poll() for anything to happen, take it.
 *
 *   worker       event                                     to
 *   NONE         a call finds no idle worker               NEW     sockets made; the server started if there is none
 *   NEW          its FORK was sent                         ALIVE
 *   NEW, ALIVE   the server says that there is none        NONE    its call goes back, or fails if nobody else is there
 *   ALIVE        the server says that it has ended         NONE    its call has been answered, or fails
 *   any          the server has ended                      NONE    likewise
 *
 * A worker that closes its socket, sends nonsense, or runs out of time is killed, and the rest waits for its end.
 *
 * I1 a call that was given to a worker is never given to another, unless that worker was not made: each death of a
 *    worker or server ends the calls it had, so there is no endless row of deaths
 * I2 an answer that was complete before the worker died counts
 *
 * Source: concurrent.futures.process._ExecutorManagerThread; poll(2), unix(7).
 */
#define _GNU_SOURCE /* sigabbrev_np */
#include "process_pool.h"

#include <coil/errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/base/alloc.h"
#include "../src/base/clock.h"

/* --- how things ended -------------------------------------------------------------------------------------------- */

static void describe(int status, char *text, size_t size)
{
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name)
        snprintf(text, size, "was killed by signal %d (SIG%s)", WTERMSIG(status), name);
    else if (WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d", WTERMSIG(status));
    else
        snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

/* Why the call of a worker whose process has ended has failed. */
static coil_error *why(const coil__process_worker *w, int status)
{
    char end[64];
    const coil__process_call *call = w->call;
    describe(status, end, sizeof end);
    if (w->late)
        return coil_error_new(-ETIMEDOUT, "job '%s' did not end within %.9g s: its worker process was killed",
                              call->name, (double)call->timeout_ns / 1e9);
    if (w->damaged)
        return coil_error_new(COIL_EBROKENPROCESS, "the worker process that ran job '%s' sent no proper answer",
                              call->name);
    return coil_error_new(COIL_EBROKENPROCESS, "the worker process that ran job '%s' %s", call->name, end);
}

/* --- workers ----------------------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Nothing is left of the worker but its place; gives the call that it had. */
static coil__process_call *clear(coil__process_worker *w)
{
    coil__process_call *call = w->call;
    coil__worker_forget(w);
    close_fd(&w->fd);
    close_fd(&w->theirs);
    *w = (coil__process_worker){.number = w->number, .fd = -1, .theirs = -1};
    return call;
}

/* At most once. */
static void kill_worker(coil__process_worker *w)
{
    w->kill |= !w->doomed;
    w->doomed = true;
}

/* Its call is over, and it waits for the next one. */
static void answered(coil__process_worker *w)
{
    bool out_of_step = coil__worker_sending(w);
    coil__process_call *call = w->call;
    w->call = NULL;
    w->deadline = INT64_MAX;
    w->got = 0;
    coil__process_call_end(call);
    if (out_of_step) /* it has not even read the call */
        kill_worker(w);
}

/* Takes what there is; a part, or, @all of it, after the worker's end. */
static void receive(coil__process_worker *w, bool all)
{
    uint64_t before;
    enum coil__worker_news news;
    do {
        before = w->got;
        news = coil__worker_receive(w);
    } while (all && news == COIL__WORKER_WAIT && w->got != before);
    if (news == COIL__WORKER_ANSWERED)
        answered(w);
    if (news != COIL__WORKER_NONSENSE && news != COIL__WORKER_CLOSED)
        return;
    w->damaged |= news == COIL__WORKER_NONSENSE && !w->doomed;
    kill_worker(w); /* if it has not ended already */
    close_fd(&w->fd);
}

/* The process is no more. */
static void ended(coil__process_worker *w, coil_error *(*reason)(const coil__process_worker *w, int status), int status)
{
    if (w->fd >= 0)
        receive(w, true); /* I2 */
    coil_error *e = NULL;
    if (w->call) {
        e = w->call->error ? w->call->error : reason(w, status);
        w->call->error = NULL;
    }
    coil__process_call *call = clear(w);
    if (call)
        coil__process_call_fail(call, e);
}

static bool others_alive(const coil__process_pool *p, const coil__process_worker *but)
{
    for (unsigned i = 0; i < p->workers_max; i++)
        if (&p->workers[i] != but && p->workers[i].state == COIL__WORKER_ALIVE && !p->workers[i].doomed)
            return true;
    return false;
}

static void give_back(coil__process_pool *p, coil__process_call *call)
{
    pthread_mutex_lock(&p->mutex);
    coil__list_prepend(&p->queue, &call->node);
    p->queued++;
    pthread_mutex_unlock(&p->mutex);
}

/* There will be no such worker, for want of what @error says. */
static void refused(coil__process_pool *p, coil__process_worker *w, const char *what, int error)
{
    coil__process_call *call = clear(w);
    if (!call)
        return;
    if (others_alive(p, w)) {
        p->no_growth = true;
        give_back(p, call); /* I1 */
        return;
    }
    const char *text = strerrordesc_np(error);
    coil__process_call_fail(call, coil_error_new(-error, "can't start %s for job '%s': %s", what, call->name,
                                                 text ? text : "unknown error"));
}

/* --- the server -------------------------------------------------------------------------------------------------- */

static coil_error *server_gone(const coil__process_worker *w, int status)
{
    char end[64];
    describe(status, end, sizeof end);
    return coil_error_new(COIL_EBROKENPROCESS, "the fork server %s while its worker ran job '%s'", end,
                          w->call->name);
}

/* It is reaped, unless somebody else has done that. */
static int wait_for_server(coil__process_pool *p)
{
    int status = 0;
    while (waitpid(p->server, &status, 0) < 0 && errno == EINTR) {
    }
    close_fd(&p->server_fd);
    return status;
}

/* The server has ended, and its workers with it (W3). */
static void server_lost(coil__process_pool *p)
{
    int status = wait_for_server(p);
    for (unsigned i = 0; i < p->workers_max; i++)
        if (p->workers[i].state != COIL__WORKER_NONE)
            ended(&p->workers[i], server_gone, status);
}

/* False: its socket takes no more for now (or never, which poll() tells). */
static bool tell(coil__process_pool *p, const coil__process_worker *w, enum coil__server_word word, int fd)
{
    coil__server_message m = {.word = word, .number = w->number};
    struct iovec part = {&m, sizeof m};
    union {
        struct cmsghdr aligned;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(p->server_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

/* What is due for a worker. False: there is more. */
static bool tell_about(coil__process_pool *p, coil__process_worker *w)
{
    if (w->state == COIL__WORKER_NEW) {
        if (!tell(p, w, COIL__SERVER_FORK, w->theirs))
            return false;
        close_fd(&w->theirs);
        w->state = COIL__WORKER_ALIVE;
    }
    if (!w->kill || w->state != COIL__WORKER_ALIVE)
        return true;
    if (!tell(p, w, COIL__SERVER_KILL, -1))
        return false;
    w->kill = false;
    return true;
}

static void hear(coil__process_pool *p)
{
    coil__server_message m;
    ssize_t r;
    while ((r = recv(p->server_fd, &m, sizeof m, MSG_DONTWAIT)) == (ssize_t)sizeof m) {
        if (m.number >= p->workers_max)
            continue; /* not of a server of ours */
        coil__process_worker *w = &p->workers[m.number];
        p->no_growth = false;
        if (m.word == COIL__SERVER_REFUSED)
            refused(p, w, "a worker process", m.value);
        else
            ended(w, why, m.value);
    }
    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
        server_lost(p);
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

/* An idle worker, or a place for a new one; NULL: neither. */
static coil__process_worker *free_worker(coil__process_pool *p)
{
    coil__process_worker *place = NULL;
    for (unsigned i = p->workers_max; i-- > 0;) {
        coil__process_worker *w = &p->workers[i];
        if (w->state == COIL__WORKER_ALIVE && !w->call && !w->doomed)
            return w;
        if (w->state == COIL__WORKER_NONE)
            place = w;
    }
    return p->no_growth ? NULL : place;
}

/* What cannot be had is reported to the call that @w has. */
static void start_worker(coil__process_pool *p, coil__process_worker *w)
{
    int pair[2];
    int rc = p->server_fd < 0 ? coil__process_pool_spawn(&p->server_fd, &p->server) : 0;
    if (rc < 0) {
        refused(p, w, "the fork server", -rc);
        return;
    }
    rc = coil__process_pool_socketpair(SOCK_STREAM, pair);
    if (rc < 0) {
        refused(p, w, "a worker process", -rc);
        return;
    }
    w->fd = pair[0];
    w->theirs = pair[1];
    w->state = COIL__WORKER_NEW;
}

static void give(coil__process_pool *p, coil__process_worker *w, coil__process_call *call)
{
    int64_t end;
    coil__worker_give(w, call);
    w->deadline = INT64_MAX;
    if (call->timeout_ns > 0 && !__builtin_add_overflow(coil__monotonic_ns(), call->timeout_ns, &end))
        w->deadline = end;
    if (w->state == COIL__WORKER_NONE)
        start_worker(p, w);
    if (w->fd >= 0)
        coil__worker_send(w);
}

static void give_calls(coil__process_pool *p)
{
    coil__process_worker *w;
    coil__process_call *call;
    while ((w = free_worker(p)) && (call = coil__process_pool_take(p)))
        give(p, w, call);
}

/* --- the end of a pool ------------------------------------------------------------------------------------------- */

/* No call is left, and none will come. */
static bool finished(coil__process_pool *p)
{
    for (unsigned i = 0; i < p->workers_max; i++)
        if (p->workers[i].call)
            return false;
    pthread_mutex_lock(&p->mutex);
    bool over = p->stopping && coil__list_empty(&p->queue);
    pthread_mutex_unlock(&p->mutex);
    return over;
}

/* It cannot do what it is told to. While it can be waited for it is still the server that has this number (W2). */
static void kill_server(coil__process_pool *p)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)p->server, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        kill(p->server, SIGKILL);
}

/* Idle workers end with their sockets. False: there are some that have not yet. */
static bool workers_ended(coil__process_pool *p)
{
    bool over = true;
    for (unsigned i = 0; i < p->workers_max; i++) {
        close_fd(&p->workers[i].fd);
        over &= p->workers[i].state == COIL__WORKER_NONE;
    }
    return over;
}

/* Their time is up: first it is the workers who are killed; then the server, which has not told of their end. */
static void press(coil__process_pool *p)
{
    if (p->pressed)
        kill_server(p);
    for (unsigned i = 0; i < p->workers_max; i++)
        if (p->workers[i].state != COIL__WORKER_NONE)
            kill_worker(&p->workers[i]);
    p->pressed = true;
}

static void end_server(coil__process_pool *p)
{
    struct pollfd end = {.fd = p->server_fd, .events = POLLIN};
    shutdown(p->server_fd, SHUT_WR);
    if (poll(&end, 1, (int)(p->patience_ns / 1000000)) <= 0)
        kill_server(p);
    wait_for_server(p);
}

/* Goes through with the pool's end. False: wait for more to happen. */
static bool wind_up(coil__process_pool *p)
{
    if (!finished(p))
        return false;
    bool over = workers_ended(p);
    int64_t now = coil__monotonic_ns();
    if (!over && now >= p->patience)
        press(p);
    if (!over && (p->patience == INT64_MAX || now >= p->patience))
        p->patience = now + p->patience_ns;
    if (over && p->server_fd >= 0)
        end_server(p);
    return over;
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

/* True: there is something to be told to the server that it does not take now. */
static bool tell_server(coil__process_pool *p)
{
    bool more = false;
    for (unsigned i = 0; p->server_fd >= 0 && i < p->workers_max; i++)
        more |= !tell_about(p, &p->workers[i]);
    return more;
}

/* Until when to wait. */
static int64_t next_deadline(const coil__process_pool *p)
{
    int64_t next = p->patience;
    for (unsigned i = 0; i < p->workers_max; i++)
        if (p->workers[i].call && p->workers[i].deadline < next)
            next = p->workers[i].deadline;
    return next;
}

static int wait_ms(int64_t until)
{
    int64_t left = until == INT64_MAX ? -1 : until - coil__monotonic_ns();
    if (until == INT64_MAX)
        return -1;
    return left <= 0 ? 0 : left > COIL_SECONDS(3600) ? 3600000 : (int)((left + 999999) / 1000000);
}

static void kill_late_workers(coil__process_pool *p)
{
    int64_t now = 0;
    for (unsigned i = 0; i < p->workers_max; i++) {
        coil__process_worker *w = &p->workers[i];
        if (!w->call || w->deadline == INT64_MAX)
            continue;
        now = now ? now : coil__monotonic_ns();
        if (w->deadline <= now) {
            w->late = !w->doomed;
            kill_worker(w);
            w->deadline = INT64_MAX;
        }
    }
}

/* The events to wait for: of the workers, the server, and those who wake this thread. */
static void choose_events(coil__process_pool *p, bool more_to_tell)
{
    for (unsigned i = 0; i < p->workers_max; i++) {
        const coil__process_worker *w = &p->workers[i];
        p->polls[i] = (struct pollfd){.fd = w->fd, .events = POLLIN};
        if (coil__worker_sending(w))
            p->polls[i].events |= POLLOUT;
    }
    p->polls[p->workers_max] = (struct pollfd){.fd = p->server_fd, .events = POLLIN};
    if (more_to_tell)
        p->polls[p->workers_max].events |= POLLOUT;
    p->polls[p->workers_max + 1] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
}

/* False: there are calls that a worker is free for. Else who submits one wakes this thread. */
static bool may_sleep(coil__process_pool *p)
{
    bool free = free_worker(p) != NULL;
    pthread_mutex_lock(&p->mutex);
    p->sleeping = free && coil__list_empty(&p->queue);
    bool sleep = !free || p->sleeping;
    pthread_mutex_unlock(&p->mutex);
    return sleep;
}

static void handle_worker(coil__process_pool *p, coil__process_worker *w, short events)
{
    if (w->fd >= 0 && (events & POLLOUT))
        coil__worker_send(w);
    if (w->fd < 0 || !(events & (POLLIN | POLLHUP | POLLERR)))
        return;
    receive(w, false);
    p->no_growth = false;
}

/* Workers first: what one has answered before it ended, or before its deadline, counts. */
static void handle_events(coil__process_pool *p)
{
    uint64_t wakes;
    for (unsigned i = 0; i < p->workers_max; i++)
        handle_worker(p, &p->workers[i], p->polls[i].revents);
    if (p->polls[p->workers_max].revents && p->server_fd >= 0)
        hear(p);
    while (p->polls[p->workers_max + 1].revents && read(p->wake_fd, &wakes, sizeof wakes) < 0 && errno == EINTR) {
    }
}

static void wait_for_events(coil__process_pool *p)
{
    bool more = tell_server(p);
    choose_events(p, more);
    int timeout = may_sleep(p) ? wait_ms(next_deadline(p)) : 0;
    if (poll(p->polls, p->workers_max + 2, timeout) > 0)
        handle_events(p);
    kill_late_workers(p);
}

static void set_over(coil__process_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->ended = true;
    pthread_cond_broadcast(&p->over);
    pthread_mutex_unlock(&p->mutex);
}

void *coil__process_pool_manage(void *arg)
{
    coil__process_pool *p = arg;
    pthread_setname_np(pthread_self(), "coil-processes");
    for (;;) {
        give_calls(p);
        if (wind_up(p))
            break;
        wait_for_events(p);
    }
    set_over(p);
    coil__process_pool_release(p); /* P3 */
    return NULL;
}
