/*
 * load.c - what the loops of the load generator share: connections, events, figures; see load.h
 *
 * One thread: coil-loadgen's, or coil-bench's.
 */
#define _GNU_SOURCE /* EPOLL_CLOEXEC */
#include "load_loops.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int64_t load_clock_ns(clockid_t clock)
{
    struct timespec ts;
    return clock_gettime(clock, &ts) == 0 ? (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec : 0;
}

/* --- connections --------------------------------------------------------------------------------------------- */

int load_complain(const char *what, int code)
{
    fprintf(stderr, "# load: %s: %s\n", what, strerror(-code));
    return code;
}

/* Level-triggered. Writability is asked for only while a message is stuck. */
int load_watch(const load *l, load_conn *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (load_conn_sending(c) ? EPOLLOUT : 0u), .data.ptr = c};
    return epoll_ctl(l->epoll, operation, c->fd, &event) == 0 ? 0 : -errno;
}

static int open_one(load *l, uint64_t number)
{
    load_conn *c = &l->conns[number];
    const load_options *o = l->options;
    int rc = load_conn_open(c, o->host, (uint16_t)o->port, (size_t)o->bytes, number);
    if (rc < 0)
        return load_complain("cannot connect", rc);
    l->opened++;
    return 0;
}

static int open_all(load *l)
{
    int rc = 0;
    for (uint64_t i = 0; i < l->options->connections && rc == 0; i++)
        rc = open_one(l, i);
    return rc;
}

/* --- events -------------------------------------------------------------------------------------------------- */

static int go_on_sending(const load *l, load_conn *c)
{
    int rc = load_conn_send(c);
    if (rc == 0 && !load_conn_sending(c))
        rc = load_watch(l, c, EPOLL_CTL_MOD);
    return rc;
}

int load_handle_event(load *l, const struct epoll_event *event)
{
    load_conn *c = event->data.ptr;
    int rc = 0;
    if (event->events & EPOLLOUT)
        rc = go_on_sending(l, c);
    if (rc == 0 && (event->events & ~(uint32_t)EPOLLOUT))
        rc = load_conn_receive(c, l->scratch, sizeof l->scratch);
    if (rc == -EBADMSG)
        fprintf(stderr, "# load: connection %td: wrong data after %zu of %zu bytes\n", c - l->conns, c->received,
                c->bytes);
    else if (rc < 0)
        load_complain("a connection was lost", rc);
    return rc;
}

/* --- figures ------------------------------------------------------------------------------------------------- */

void load_add(load *l, const char *suffix, double value, const char *unit)
{
    load_result *r = l->result;
    if (r->count < LOAD_FIGURES_MAX)
        r->figures[r->count++] = (load_figure){.suffix = suffix, .value = value, .unit = unit};
}

void load_add_quantile(load *l, const char *suffix, const histogram *h, double quantile)
{
    load_add(l, suffix, (double)histogram_quantile(h, quantile) / 1e3, "us");
}

/* --- all of it ----------------------------------------------------------------------------------------------- */

void load_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int measure(load *l)
{
    if (l->epoll < 0 || !l->conns)
        return load_complain("cannot start", -ENOMEM);
    int rc = open_all(l);
    if (rc < 0)
        return rc;
    return l->options->rate > 0 ? load_open_measure(l) : load_closed_measure(l);
}

int load_run(const load_options *options, load_result *result)
{
    load *l = calloc(1, sizeof *l);
    if (!l)
        return load_complain("cannot start", -ENOMEM);
    *result = (load_result){0};
    l->options = options;
    l->result = result;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->conns = calloc(options->connections, sizeof *l->conns);
    int rc = measure(l);
    for (uint64_t i = 0; i < l->opened; i++)
        load_conn_close(&l->conns[i]);
    if (l->epoll >= 0)
        close(l->epoll);
    free(l->conns);
    free(l);
    return rc;
}
