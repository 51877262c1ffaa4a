/*
 * pipe.c - pipes, fifos and terminals made fit for transports, as streams, and as stdin, stdout and stderr
 *
 * On the loop's thread; in a runtime on any worker.
 *
 * I1 a stream's descriptor is nonblocking, and where that is possible nobody else shares the open file: it is opened
 *    anew, through /proc/self/fd. Not pseudo-terminals' masters, or other devices, of which each opening makes
 *    another one
 *
 * Source: asyncio.unix_events of CPython 3.11; pipe(7), open(2), proc(5).
 */
#define _GNU_SOURCE /* pipe2, dup3, TIOCGPTN */
#include "pipe.h"

#include <coil/errno.h>
#include <coil/pipe.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "call.h"
#include "disposition.h"
#include "stream.h"

#include "../src/base/alloc.h"

void coil__sigpipe_ignore(void)
{
    if (coil__signal_does(SIGPIPE, SIG_DFL))
        (void)signal(SIGPIPE, SIG_IGN);
}

bool coil__pipe_tells(int fd)
{
    struct stat file;
    return fstat(fd, &file) == 0 && (S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode));
}

int coil__pipe_reader(coil_loop *loop, int fd, size_t limit_bytes, coil_stream **stream)
{
    coil__wire wire = {.in = fd, .out = -1};
    return coil__stream_open(loop, &wire, limit_bytes ? limit_bytes : COIL_STREAM_LIMIT, stream);
}

int coil__pipe_writer(coil_loop *loop, int fd, coil_stream **stream)
{
    coil_stream *s;
    coil__wire wire = {.in = -1, .out = fd};
    coil__sigpipe_ignore();
    COIL_TRY(coil__stream_open(loop, &wire, COIL_STREAM_LIMIT, &s));
    COIL__GUARD(&s->transport.latch);
    coil__reader_feed_eof(&s->reader); /* whoever reads from it is told that there is nothing */
    *stream = s;
    return 0;
}

/*
 * A stream that writes to a device or file. Other writing streams watch whether their reader has gone, which of a
 * terminal can only be told from keys that are pressed, and of files not at all: so this one reads, from a pipe that
 * has ended. Takes @fd.
 */
static int open_unwatched_writer(coil_loop *loop, int fd, coil_stream **stream)
{
    int ends[2];
    coil__sigpipe_ignore();
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        int rc = -errno;
        close(fd);
        return coil_raise(rc, NULL);
    }
    close(ends[1]);
    return coil__stream_open(loop, &(coil__wire){.in = ends[0], .out = fd}, COIL_STREAM_LIMIT, stream);
}

/* Takes @fd, also on failure. */
static int open_writer(coil_loop *loop, int fd, coil_stream **stream)
{
    return coil__pipe_tells(fd) ? coil__pipe_writer(loop, fd, stream) : open_unwatched_writer(loop, fd, stream);
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

static bool is_master(int fd)
{
    unsigned number;
    return ioctl(fd, TIOCGPTN, &number) == 0;
}

static bool may_be_reopened(int fd, mode_t mode)
{
    return S_ISFIFO(mode) || (S_ISCHR(mode) && isatty(fd) && !is_master(fd));
}

/* A nonblocking descriptor of the caller's own, opened as @flags say. -EACCES and the like: not to be had. */
static int reopen(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

/* Whether poll() tells when it is ready: not of files, nor of some devices. */
static bool can_wait(int fd)
{
    struct epoll_event event = {0};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return true; /* the first wait will tell */
    bool refused = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 && errno == EPERM;
    close(epoll);
    return !refused;
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/*
 * The descriptor @fd becomes one of the stream's own, if that is possible. I1. It stays what it was opened for: a fifo
 * that is open for both has no end.
 */
static int own_in_place(int fd, mode_t mode)
{
    int flags = fcntl(fd, F_GETFL);
    int own = flags >= 0 && may_be_reopened(fd, mode) ? reopen(fd, flags & O_ACCMODE) : -EACCES;
    int kept = fcntl(fd, F_GETFD);
    if (own < 0 || kept < 0)
        return set_nonblocking(fd);
    int rc = dup3(own, fd, kept & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : 0;
    close(own);
    return rc;
}

/* --- pipes ------------------------------------------------------------------------------------------------------ */

/* asyncio's words. */
static const char only_to_read[] = "Pipe transport is for pipes/sockets only.";
static const char only_to_write[] = "Pipe transport is only for pipes, sockets and character devices";

int coil__pipe_prepare(int fd, int flags)
{
    struct stat file;
    if (fstat(fd, &file) < 0)
        return coil_raise(-errno, NULL);
    if (!S_ISFIFO(file.st_mode) && !S_ISSOCK(file.st_mode) && !S_ISCHR(file.st_mode))
        return coil_raise(-EINVAL, "%s", flags == O_RDONLY ? only_to_read : only_to_write);
    if (!can_wait(fd))
        return coil_raise(-EPERM, "descriptor %d cannot be waited for", fd);
    int rc = own_in_place(fd, file.st_mode);
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

/* Takes @fd, also on failure. */
static int connect_pipe(int fd, int flags, size_t limit_bytes, coil_stream **stream)
{
    coil_loop *loop = coil_get_running_loop();
    int rc = loop ? coil__pipe_prepare(fd, flags) : COIL_ENOLOOP;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    if (flags == O_RDONLY)
        return coil__pipe_reader(loop, fd, limit_bytes, stream);
    return open_writer(loop, fd, stream);
}

int coil_connect_read_pipe(int fd, size_t limit_bytes, coil_stream **stream)
{
    return connect_pipe(fd, O_RDONLY, limit_bytes, stream);
}

int coil_connect_write_pipe(int fd, coil_stream **stream)
{
    return connect_pipe(fd, O_WRONLY, 0, stream);
}

/* --- stdin, stdout, stderr -------------------------------------------------------------------------------------- */

/* The standard descriptors' flags before O_NONBLOCK was set, or -1: whoever started the program has them too. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int flags_before[3] = {-1, -1, -1};
static bool at_exit;

static void restore_flags(void)
{
    pthread_mutex_lock(&mutex);
    for (int fd = 0; fd < 3; fd++)
        if (flags_before[fd] >= 0)
            (void)fcntl(fd, F_SETFL, flags_before[fd]);
    pthread_mutex_unlock(&mutex);
}

static void remember_flags(int fd)
{
    pthread_mutex_lock(&mutex);
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        flags_before[fd] = flags;
    if (!at_exit)
        at_exit = atexit(restore_flags) == 0;
    pthread_mutex_unlock(&mutex);
}

/* A descriptor for the same as @fd, which stays open. */
static int duplicate(int fd, mode_t mode, int flags)
{
    int own = may_be_reopened(fd, mode) ? reopen(fd, flags) : -EACCES;
    if (own >= 0)
        return own;
    own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return -errno;
    if (can_wait(fd)) {
        remember_flags(fd);
        (void)set_nonblocking(fd);
    }
    return own;
}

/* What copies a file, which cannot be waited for, into a pipe, which can. */
typedef struct copier {
    int file;         /* owned */
    coil_stream *out; /* owned */
    char data[16 * 1024];
} copier;

static void drop_copier(void *arg)
{
    copier *c = arg;
    close(c->file);
    coil_stream_free(c->out);
    coil__free(c);
}

/* Until the end of the file, or the reader's. */
static int copy_file(coil_loop *loop, copier *c)
{
    for (;;) {
        struct iovec part = {c->data, sizeof c->data};
        coil__call call;
        coil__call_init(&call, COIL__OP_FILE_READV, c->file);
        call.op.data = &part;
        call.op.bytes = 1;
        call.op.offset = -1; /* where the file is: others may read it in turn */
        int n = coil__call_result(loop, &call, "reading stdin");
        if (n <= 0)
            return n;
        COIL_TRY(coil_stream_write(c->out, c->data, (size_t)n));
        COIL_TRY(coil_stream_drain(c->out));
    }
}

static int run_copier(void *arg, void **result)
{
    (void)result;
    copier *c = arg;
    int rc = copy_file(coil_get_running_loop(), c);
    coil_stream_close(c->out);
    if (rc == 0)
        rc = coil_stream_wait_closed(c->out);
    coil_error *error = coil_catch(rc);
    drop_copier(c);
    if (rc == -EPIPE || rc == -ECONNRESET) { /* nobody wants more */
        coil_error_release(error);
        return 0;
    }
    return coil_raise_error(error);
}

/* Takes both descriptors, also on failure. */
static int start_copier(coil_loop *loop, int file, int pipe)
{
    copier *c = coil__malloc(sizeof *c);
    coil_task *task;
    int rc = c ? 0 : coil_raise(-ENOMEM, NULL);
    if (rc < 0)
        close(pipe);
    else
        rc = coil__pipe_writer(loop, pipe, &c->out);
    if (rc < 0) {
        close(file);
        coil__free(c);
        return rc;
    }
    c->file = file;
    COIL_TRY(coil_loop_create_task(loop, coil_coro_make(run_copier, c, drop_copier, 0, "stdin"), NULL, &task));
    coil_release(task);
    return 0;
}

/* A stream that reads a file: takes @file. */
static int open_file_reader(coil_loop *loop, int file, coil_stream **stream)
{
    int ends[2];
    coil_stream *s;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        int rc = -errno;
        close(file);
        return coil_raise(rc, NULL);
    }
    int rc = coil__pipe_reader(loop, ends[0], 0, &s);
    if (rc < 0) {
        close(ends[1]);
        close(file);
        return rc;
    }
    rc = start_copier(loop, file, ends[1]);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        coil_stream_free(s);
        return coil_raise_error(error);
    }
    *stream = s;
    return 0;
}

static int open_standard(int fd, int flags, coil_stream **stream)
{
    struct stat file;
    bool reads = flags == O_RDONLY;
    coil_loop *loop = coil_get_running_loop();
    if (!loop)
        return COIL_ENOLOOP;
    int own = fstat(fd, &file) < 0 ? -errno : duplicate(fd, file.st_mode, flags);
    if (own < 0)
        return coil_raise(own, NULL);
    if (!reads)
        return open_writer(loop, own, stream);
    return can_wait(own) ? coil__pipe_reader(loop, own, 0, stream) : open_file_reader(loop, own, stream);
}

int coil_open_stdin(coil_stream **stream)
{
    return open_standard(STDIN_FILENO, O_RDONLY, stream);
}

int coil_open_stdout(coil_stream **stream)
{
    return open_standard(STDOUT_FILENO, O_WRONLY, stream);
}

int coil_open_stderr(coil_stream **stream)
{
    return open_standard(STDERR_FILENO, O_WRONLY, stream);
}
