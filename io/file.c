/*
 * file.c - files at offsets: opening, reading, writing, asking; see coil/file.h
 *
 * In a task, on any worker. The calls at offsets change nothing in the file's object, so that tasks need not exclude each other.
 *
 * Source: openat(2), pread(2), statx(2), and their requests in io_uring_enter(2).
 */
#define _GNU_SOURCE /* statx */
#include "file.h"

#include <coil/errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buffers.h"

#include "../src/base/alloc.h"
#include "../src/sync.h"

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x00002000U /* Linux 6.1 */
#endif
#define ALIGNMENT_UNKNOWN 4096
#define TRANSFER_BYTES_MAX ((size_t)1 << 30)

#define DIO_ALIGNMENT 0x98 /* of struct statx since Linux 6.1: two numbers, of memory and of offsets */

static int raise_for_path(const char *path, int code)
{
    return coil_raise(code, "%s: %s", path, coil_strerror(code));
}

/* In a task of whatever loop. */
static int await_call(coil__call *c)
{
    COIL_TRY(coil__task_may_wait());
    return coil__call_await(coil__running_loop(), c);
}

int coil__file_call(coil__call *c, const char *what)
{
    COIL_TRY(coil__task_may_wait());
    coil_loop *loop = coil__running_loop();
    if (c->op.kind == COIL__OP_FILE_READ || c->op.kind == COIL__OP_FILE_WRITE)
        c->op.more = coil__buffers_find(loop, c->op.data, c->op.bytes);
    return coil__call_result(loop, c, what);
}

/* --- opening, closing ---------------------------------------------------------------------------------------- */

static coil_file *new_file(int fd, bool append)
{
    coil_file *file = coil__calloc(sizeof *file);
    if (!file)
        return NULL;
    file->fd = fd;
    file->append = append;
    coil__latch_init(&file->latch);
    return file;
}

/* 0 for what files are; @name tells which in the message. */
static int check_type(mode_t mode, const char *name)
{
    if (S_ISREG(mode) || S_ISBLK(mode))
        return 0;
    if (S_ISDIR(mode))
        return raise_for_path(name, -EISDIR);
    return coil_raise(-EINVAL, "%s: not a regular file; pipes, terminals and sockets are streams", name);
}

static int stat_at(int fd, const char *path, int flags, unsigned mask, struct statx *st, int *res)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_STAT, fd);
    c.op.data = (void *)(uintptr_t)path;
    c.op.flags = flags;
    c.op.bytes = mask;
    c.op.more = st;
    COIL_TRY(await_call(&c));
    *res = c.op.res;
    return 0;
}

static int stat_fd(int fd, unsigned mask, struct statx *st)
{
    int res;
    COIL_TRY(stat_at(fd, "", AT_EMPTY_PATH, mask, st, &res));
    return res < 0 ? coil_raise(res, "fstat: %s", coil_strerror(res)) : 0;
}

/*
 * Reading from a nonblocking file may fail with EAGAIN for want of data in memory. For regular files the flag has no other
 * meaning; it was of use in opening what turned out to be none.
 */
static int make_blocking(int fd, int flags)
{
    if (!(flags & O_NONBLOCK))
        return 0;
    return fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? coil_raise(-errno, NULL) : 0;
}

/* A file of @fd, which was opened with @flags, and stays the caller's on failure. @st: its type and size. */
static int adopt(int fd, int flags, const char *name, struct statx *st, coil_file **file)
{
    COIL_TRY(stat_fd(fd, STATX_TYPE | STATX_SIZE, st));
    COIL_TRY(check_type(st->stx_mode, name));
    COIL_TRY(make_blocking(fd, flags));
    coil_file *made = new_file(fd, flags & O_APPEND);
    if (!made)
        return coil_raise(-ENOMEM, NULL);
    *file = made;
    return 0;
}

/* Closes a descriptor that nobody gets, keeping the error that is being raised. */
static int give_up(int fd, int rc)
{
    if (fd >= 0)
        close(fd);
    return rc;
}

/* *@fd: a descriptor or a negative errno. */
static int await_open(const char *path, int flags, mode_t mode, int *fd)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_OPEN, AT_FDCWD);
    c.op.data = (void *)(uintptr_t)path;
    c.op.flags = flags | O_CLOEXEC | O_NOCTTY;
    c.op.bytes = mode;
    int rc = await_call(&c);
    *fd = c.op.res;
    return rc < 0 ? give_up(*fd, rc) : 0;
}

/*
 * A pipe without a writer is refused below, not waited for: hence O_NONBLOCK. A file that somebody has a lease of
 * (fcntl(2), F_SETLEASE) is, until that is given up.
 */
int coil__file_open(const char *path, int flags, mode_t mode, struct statx *st, coil_file **file)
{
    int fd, opened = flags | O_NONBLOCK;
    COIL_TRY(await_open(path, opened, mode, &fd));
    if (fd == -EAGAIN && opened != flags)
        COIL_TRY(await_open(path, opened = flags, mode, &fd));
    if (fd < 0)
        return raise_for_path(path, fd);
    int rc = adopt(fd, opened, path, st, file);
    return rc < 0 ? give_up(fd, rc) : 0;
}

int coil_file_open(const char *path, int flags, mode_t mode, coil_file **file)
{
    struct statx st;
    return coil__file_open(path, flags, mode, &st, file);
}

int coil_file_from_fd(int fd, coil_file **file)
{
    char name[32];
    struct statx st;
    COIL_TRY(coil__task_needed());
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return coil_raise(-errno, "descriptor %d: %s", fd, coil_strerror(-errno));
    snprintf(name, sizeof name, "descriptor %d", fd);
    return adopt(fd, flags, name, &st, file);
}

/* Whether the descriptor is gone, whatever was said about it. */
static bool was_closed(const coil__call *c)
{
    return c->op.answered && c->op.res != -ECANCELED;
}

int coil_file_close(coil_file *file)
{
    coil__call c;
    if (!file)
        return 0;
    coil_assert(!file->busy);
    coil__call_init(&c, COIL__OP_FILE_CLOSE, file->fd);
    int rc = coil__file_call(&c, "close");
    if (!was_closed(&c)) /* the task was cancelled, or cannot wait any more: it must not stay open for that */
        close(file->fd);
    coil__bytes_fini(&file->buffer);
    coil__free(file);
    return rc < 0 ? rc : 0;
}

int coil_file_fd(const coil_file *file)
{
    coil_assert(file);
    return file->fd;
}

/* --- reading, writing ---------------------------------------------------------------------------------------- */

static int check_offset(int64_t offset)
{
    return offset < 0 ? coil_raise(-EINVAL, "negative offset %lld", (long long)offset) : 0;
}

void coil__file_init_transfer(coil__call *c, const coil_file *file, enum coil__op_kind kind, const void *data, size_t n,
                              int64_t offset)
{
    coil__call_init(c, kind, file->fd);
    c->op.data = (void *)(uintptr_t)data;
    c->op.bytes = n < TRANSFER_BYTES_MAX ? n : TRANSFER_BYTES_MAX;
    c->op.offset = offset;
}

int coil_file_pread(coil_file *file, void *buf, size_t cap, int64_t offset, size_t *n)
{
    coil_assert(file);
    coil__call c;
    COIL_TRY(check_offset(offset));
    coil__file_init_transfer(&c, file, COIL__OP_FILE_READ, buf, cap, offset);
    int res = coil__file_call(&c, "read");
    if (res < 0)
        return res;
    *n = (size_t)res;
    return 0;
}

int coil_file_pwrite(coil_file *file, const void *data, size_t n, int64_t offset)
{
    coil_assert(file);
    coil__call c;
    COIL_TRY(check_offset(offset));
    for (size_t done = 0; done < n;) {
        coil__file_init_transfer(&c, file, COIL__OP_FILE_WRITE, (const char *)data + done, n - done,
                                 offset + (int64_t)done);
        int res = coil__file_call(&c, "write");
        if (res < 0)
            return res;
        if (res == 0)
            return coil_raise(-ENOSPC, "write: nothing was taken");
        done += (size_t)res;
    }
    return 0;
}

static int transfer_vector(coil_file *file, enum coil__op_kind kind, const char *what, const struct iovec *iov, int count,
                           int64_t offset, size_t *n)
{
    coil_assert(file);
    coil__call c;
    COIL_TRY(check_offset(offset));
    if (count < 0 || count > IOV_MAX)
        return coil_raise(-EINVAL, "%s: %d buffers; at most %d", what, count, IOV_MAX);
    coil__file_init_transfer(&c, file, kind, iov, (size_t)count, offset);
    int res = coil__file_call(&c, what);
    if (res < 0)
        return res;
    *n = (size_t)res;
    return 0;
}

int coil_file_preadv(coil_file *file, const struct iovec *iov, int count, int64_t offset, size_t *n)
{
    return transfer_vector(file, COIL__OP_FILE_READV, "readv", iov, count, offset, n);
}

int coil_file_pwritev(coil_file *file, const struct iovec *iov, int count, int64_t offset, size_t *n)
{
    return transfer_vector(file, COIL__OP_FILE_WRITEV, "writev", iov, count, offset, n);
}

static int sync_file(coil_file *file, bool data_alone)
{
    coil_assert(file);
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_SYNC, file->fd);
    c.op.flags = data_alone;
    return coil__file_call(&c, data_alone ? "fdatasync" : "fsync");
}

int coil_file_sync(coil_file *file)
{
    return sync_file(file, false);
}

int coil_file_datasync(coil_file *file)
{
    return sync_file(file, true);
}

int coil_file_truncate(coil_file *file, int64_t bytes)
{
    coil_assert(file);
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_TRUNCATE, file->fd);
    c.op.offset = bytes;
    return coil__file_call(&c, "truncate");
}

/* --- asking -------------------------------------------------------------------------------------------------- */

int coil_file_stat(coil_file *file, struct statx *st)
{
    coil_assert(file);
    struct statx found;
    COIL_TRY(stat_fd(file->fd, STATX_BASIC_STATS, &found));
    *st = found;
    return 0;
}

int coil_stat(const char *path, struct statx *st)
{
    struct statx found;
    int res;
    COIL_TRY(stat_at(AT_FDCWD, path, 0, STATX_BASIC_STATS, &found, &res));
    if (res < 0)
        return raise_for_path(path, res);
    *st = found;
    return 0;
}

int coil__file_size_in(const struct statx *st, int64_t *bytes)
{
    if (!S_ISREG(st->stx_mode))
        return coil_raise(-EINVAL, "the size of a block device is not told by stat");
    *bytes = (int64_t)st->stx_size;
    return 0;
}

int coil_file_size(coil_file *file, int64_t *bytes)
{
    coil_assert(file);
    struct statx st;
    COIL_TRY(stat_fd(file->fd, STATX_SIZE | STATX_TYPE, &st));
    return coil__file_size_in(&st, bytes);
}

int coil_file_get_alignment(coil_file *file, size_t *memory_bytes, size_t *offset_bytes)
{
    coil_assert(file);
    struct statx st;
    uint32_t dio[2];
    COIL_TRY(stat_fd(file->fd, STATX_DIOALIGN, &st));
    memcpy(dio, (const char *)&st + DIO_ALIGNMENT, sizeof dio);
    bool told = st.stx_mask & STATX_DIOALIGN;
    if (told && dio[1] == 0)
        return coil_raise(-EINVAL, "this file cannot be read or written with O_DIRECT");
    *memory_bytes = told ? dio[0] : ALIGNMENT_UNKNOWN;
    *offset_bytes = told ? dio[1] : ALIGNMENT_UNKNOWN;
    return 0;
}
