/*
 * process_pool_link.c - a pool's end of a worker's socket: calls go out and answers come in, in parts of any size
 *
 * The manager's thread only, and it never waits here: what the socket does not take or give now has to wait for poll().
 * A part is what one system call moves, so that workers with large buffers do not keep others waiting.
 *
 * I1 sent, got: bytes of the current call and answer, headers included
 * I2 the memory of a result belongs to the call (an error's text to the worker) once the header has come, before its bytes have
 *
 * Source: send(2), recv(2), unix(7).
 */
#include "process_pool.h"

#include <coil/errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../src/base/alloc.h"

/* --- calls ------------------------------------------------------------------------------------------------------- */

void coil__worker_give(coil__process_worker *w, coil__process_call *call)
{
    w->call = call;
    w->out = (coil__job_header){.magic = COIL__JOB_MAGIC, .name_bytes = strlen(call->name), .bytes = call->n};
    w->sent = w->got = 0;
}

static uint64_t bytes_to_send(const coil__process_worker *w)
{
    return sizeof w->out + w->out.name_bytes + w->out.bytes;
}

bool coil__worker_sending(const coil__process_worker *w)
{
    return w->call && w->sent < bytes_to_send(w);
}

void coil__process_pool_skip(struct iovec *parts, size_t n, uint64_t sent)
{
    for (size_t i = 0; i < n && sent > 0; i++) {
        size_t skip = sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
        if (skip == 0)
            continue; /* nothing, nowhere */
        parts[i].iov_base = (char *)parts[i].iov_base + skip;
        parts[i].iov_len -= skip;
        sent -= skip;
    }
}

/* A worker that takes nothing any more has ended, which others tell. */
void coil__worker_send(coil__process_worker *w)
{
    coil__process_call *call = w->call;
    struct iovec parts[] = {{&w->out, sizeof w->out}, {call->name, w->out.name_bytes}, {call->data, call->n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    coil__process_pool_skip(parts, 3, w->sent);
    ssize_t r = sendmsg(w->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (r > 0)
        w->sent += (uint64_t)r;
    else if (r < 0 && errno != EAGAIN && errno != EINTR)
        w->sent = bytes_to_send(w);
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

/* The memory that the answer goes to; I2. */
static bool make_room(coil__process_worker *w)
{
    if (w->in.bytes > SIZE_MAX - sizeof(coil_process_result) - 16)
        return false;
    if (w->in.code < 0) {
        w->text = coil__calloc((size_t)w->in.bytes + 1);
        return w->text != NULL;
    }
    /* The bytes lie behind the struct, which is a multiple of what any type needs. */
    _Static_assert(sizeof(coil_process_result) % _Alignof(max_align_t) == 0, "the bytes are aligned");
    coil_process_result *result = coil__malloc(sizeof *result + (size_t)w->in.bytes);
    if (!result)
        return false;
    *result = (coil_process_result){.data = result + 1, .n = (size_t)w->in.bytes};
    w->call->result = result;
    return true;
}

void coil__worker_forget(coil__process_worker *w)
{
    coil__free(w->text);
    w->text = NULL;
    if (w->call && w->call->result) {
        coil_process_result_free(w->call->result);
        w->call->result = NULL;
    }
}

static enum coil__worker_news complete(coil__process_worker *w)
{
    if (w->in.code < 0) {
        w->call->error = *w->text ? coil_error_new(w->in.code, "%s", w->text) : coil_error_new(w->in.code, NULL);
        coil__free(w->text);
        w->text = NULL;
    }
    return COIL__WORKER_ANSWERED;
}

/* What recv() with the result @r means when there was nothing to be counted. */
static enum coil__worker_news none_came(ssize_t r, int error)
{
    return r < 0 && (error == EAGAIN || error == EINTR) ? COIL__WORKER_WAIT : COIL__WORKER_CLOSED;
}

static enum coil__worker_news receive_header(coil__process_worker *w)
{
    ssize_t r = recv(w->fd, (char *)&w->in + w->got, sizeof w->in - w->got, MSG_DONTWAIT);
    if (r <= 0)
        return none_came(r, errno);
    w->got += (uint64_t)r;
    if (w->got < sizeof w->in)
        return COIL__WORKER_WAIT;
    if (!w->call || w->in.magic != COIL__JOB_MAGIC || w->in.code > 0)
        return COIL__WORKER_NONSENSE;
    if (!make_room(w)) {
        w->call->error = coil_error_new(-ENOMEM, NULL);
        return COIL__WORKER_NONSENSE; /* nobody would read the bytes: the worker has to go */
    }
    return w->in.bytes == 0 ? complete(w) : COIL__WORKER_WAIT;
}

static enum coil__worker_news receive_bytes(coil__process_worker *w)
{
    uint64_t have = w->got - sizeof w->in;
    char *to = w->in.code < 0 ? w->text : w->call->result->data;
    ssize_t r = recv(w->fd, to + have, (size_t)(w->in.bytes - have), MSG_DONTWAIT);
    if (r <= 0)
        return none_came(r, errno);
    w->got += (uint64_t)r;
    return w->got == sizeof w->in + w->in.bytes ? complete(w) : COIL__WORKER_WAIT;
}

enum coil__worker_news coil__worker_receive(coil__process_worker *w)
{
    enum coil__worker_news news = COIL__WORKER_WAIT;
    if (w->got < sizeof w->in)
        news = receive_header(w);
    if (news == COIL__WORKER_WAIT && w->got >= sizeof w->in)
        news = receive_bytes(w);
    return news;
}
