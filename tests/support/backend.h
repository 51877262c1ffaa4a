/*
 * backend.h - what tests of the backends by themselves have in common: one backend, its eventfd, a pair of sockets
 */
#ifndef COIL_TEST_BACKEND_H
#define COIL_TEST_BACKEND_H

#include "coil_test.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../io/op.h"

static coil__backend *backend;
static coil__list ready;
static int wake_fd, ends[2];

static COIL_TEST_UNUSED void open_backend_with(int ring_mode)
{
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    coil__list_init(&ready);
    ck_assert_int_eq(coil__backend_open(COIL_BACKEND_AUTO, ring_mode, wake_fd, &backend), 0);
    ck_assert_int_eq(backend->ops->attach(backend), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static COIL_TEST_UNUSED void open_backend(void)
{
    open_backend_with(COIL_RING_DEFAULT);
}

static COIL_TEST_UNUSED void close_backend(void)
{
    backend->ops->close(backend, &ready);
    close(ends[0]);
    close(ends[1]);
    close(wake_fd);
}

static COIL_TEST_UNUSED int waits(int64_t timeout_ns)
{
    return backend->ops->wait(backend, timeout_ns, &ready);
}

static void nothing(coil__handle *h)
{
    (void)h;
}

static const coil__handle_ops no_ops = {nothing, nothing, "test"};

static COIL_TEST_UNUSED void submit(struct coil__op *op, enum coil__op_kind kind, int fd, void *data, size_t bytes)
{
    coil__op_init(op, kind, fd, &no_ops);
    op->data = data;
    op->bytes = bytes;
    backend->ops->submit(backend, op);
}

/* As coil__op_cancel() does, which needs a loop. */
static COIL_TEST_UNUSED void cancel(struct coil__op *op)
{
    op->cancelled = true;
    backend->ops->cancel(backend, op);
}

/* The operation whose handle comes next. */
static COIL_TEST_UNUSED struct coil__op *next(void)
{
    while (coil__list_empty(&ready))
        ck_assert_int_eq(waits(COIL_SECONDS(5)), 0);
    return coil_container_of(coil__handle_of_node(coil__list_pop(&ready)), struct coil__op, handle);
}

#endif
