/*
 * memory.c - two connected ends in memory: see memory.h
 *
 * What completes goes to the ready queue at once, so that with a virtual clock no time passes on the wire.
 */
#include "memory.h"

#include <poll.h>
#include <string.h>

#include "bytes.h"
#include "stream.h"

#include "../src/base/alloc.h"
#include "../src/testing.h"

struct pair;

struct coil__memory_end {
    struct pair *pair;
    struct coil__memory_end *other;
    coil__bytes arrived;      /* what the other end has written */
    struct coil__op *reading; /* I1; NULL: none is in flight */
    struct coil__op *writing;
    bool shut;                /* it writes no more */
    bool closed;
};

struct pair {
    struct coil__memory_end ends[2];
    coil_loop *loop; /* held by the transports */
    coil__latch latch;
    size_t capacity;
};

int coil__memory_open(coil_loop *loop, size_t capacity, struct coil__memory_end *ends[2])
{
    struct pair *p = coil__calloc(sizeof *p);
    if (!p)
        return coil_raise(-ENOMEM, NULL);
    coil__latch_init(&p->latch);
    p->loop = loop;
    p->capacity = capacity;
    for (int i = 0; i < 2; i++) {
        p->ends[i].pair = p;
        p->ends[i].other = &p->ends[1 - i];
        ends[i] = &p->ends[i];
    }
    return 0;
}

/* --- with the latch held -------------------------------------------------------------------------------------- */

static void complete(struct coil__memory_end *end, struct coil__op **slot, int res)
{
    struct coil__op *op = *slot;
    *slot = NULL;
    op->in_flight = false;
    op->res = res;
    if (!coil__loop_closed(end->pair->loop))
        coil__loop_ready(end->pair->loop, &op->handle);
}

static int read_some(struct coil__memory_end *end, const struct coil__op *op)
{
    size_t n = coil__bytes_size(&end->arrived);
    if (n == 0)
        return end->other->shut ? 0 : -EAGAIN;
    if (n > op->bytes)
        n = op->bytes;
    memcpy(op->data, coil__bytes_first(&end->arrived), n);
    coil__bytes_consume(&end->arrived, n);
    return (int)n;
}

static int write_some(struct coil__memory_end *end, const struct coil__op *op)
{
    coil__bytes *there = &end->other->arrived;
    size_t room = end->pair->capacity - coil__bytes_size(there), n = op->bytes < room ? op->bytes : room;
    if (end->other->closed)
        return -EPIPE;
    if (n == 0)
        return op->bytes == 0 ? 0 : -EAGAIN;
    int rc = coil__bytes_append(there, op->data, n);
    return rc < 0 ? rc : (int)n;
}

static bool can_read(const struct coil__memory_end *end)
{
    return coil__bytes_size(&end->arrived) > 0 || end->other->shut;
}

/* I3: lets go on what can, at both ends; writing makes something to read, and reading makes room. */
static void go_on(struct pair *p)
{
    if (coil__loop_closed(p->loop))
        return;
    for (int i = 0; i < 2; i++) {
        struct coil__memory_end *end = &p->ends[i];
        int res = end->writing ? write_some(end, end->writing) : -EAGAIN;
        if (res != -EAGAIN)
            complete(end, &end->writing, res);
    }
    for (int i = 0; i < 2; i++)
        if (p->ends[i].reading && can_read(&p->ends[i]))
            complete(&p->ends[i], &p->ends[i].reading, POLLIN);
}

/* --- what transports call --------------------------------------------------------------------------------------- */

int coil__memory_try(struct coil__memory_end *end, const struct coil__op *op)
{
    COIL__GUARD(&end->pair->latch);
    int res = op->kind == COIL__OP_READ ? read_some(end, op) : write_some(end, op);
    if (res > 0)
        go_on(end->pair);
    return res;
}

void coil__memory_submit(struct coil__memory_end *end, struct coil__op *op)
{
    COIL__GUARD(&end->pair->latch);
    coil_debug_assert(!op->in_flight);
    coil_debug_assert(!(op->kind == COIL__OP_POLL ? end->reading : end->writing)); /* I1 */
    op->in_flight = true;
    *(op->kind == COIL__OP_POLL ? &end->reading : &end->writing) = op;
    go_on(end->pair);
}

void coil__memory_cancel(struct coil__memory_end *end, struct coil__op *op)
{
    COIL__GUARD(&end->pair->latch);
    if (op == end->reading)
        complete(end, &end->reading, -ECANCELED);
    else if (op == end->writing)
        complete(end, &end->writing, -ECANCELED);
}

void coil__memory_shut_down(struct coil__memory_end *end)
{
    COIL__GUARD(&end->pair->latch);
    end->shut = true;
    go_on(end->pair);
}

/* True: it was the second end. */
static bool close_end(struct coil__memory_end *end)
{
    COIL__GUARD(&end->pair->latch);
    coil_debug_assert(!end->reading && !end->writing); /* I1 */
    end->shut = end->closed = true;
    coil__bytes_fini(&end->arrived);
    end->arrived = (coil__bytes){.data = NULL};
    go_on(end->pair);
    return end->other->closed;
}

void coil__memory_close(struct coil__memory_end *end)
{
    struct pair *p = end->pair;
    if (close_end(end))
        coil__free(p); /* I2 */
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

int coil__testing_stream_pair(coil_loop *loop, size_t capacity, coil_stream **a, coil_stream **b)
{
    struct coil__memory_end *ends[2] = {NULL, NULL};
    coil_stream *first = NULL;
    COIL_TRY(coil__memory_open(loop, capacity, ends));
    int rc = coil__stream_open(loop, &(coil__wire){.memory = ends[0]}, COIL_STREAM_LIMIT, &first);
    if (rc < 0) {
        coil__memory_close(ends[1]);
        return rc;
    }
    rc = coil__stream_open(loop, &(coil__wire){.memory = ends[1]}, COIL_STREAM_LIMIT, b);
    if (rc < 0) {
        coil_stream_free(first);
        return rc;
    }
    *a = first;
    return 0;
}
