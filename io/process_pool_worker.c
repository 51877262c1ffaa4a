/*
 * process_pool_worker.c - the registered jobs, and a worker process, which runs them one after the other
 *
 * A worker is a fork of a fork server, which had one thread and had not left coil_process_init(). It may block, and its
 * socket does. It ends by _exit(): what the program has registered with atexit() is for the program's own process.
 *
 * I1 the registry changes only before coil_process_init(), when there is one thread; later anybody reads it
 * I2 a job's standard output is flushed before its answer is sent, so that a worker that is killed has not lost it
 *
 * Source: unix(7); concurrent.futures.process._process_worker.
 */
#define _GNU_SOURCE /* MSG_NOSIGNAL */
#include "process_pool_wire.h"

#include <coil/errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef COIL_ASAN
#include <sanitizer/lsan_interface.h>
#endif

#include "bytes.h"

#include "../src/base/alloc.h"

/* --- the registry ------------------------------------------------------------------------------------------------ */

typedef struct registered {
    const char *name;
    coil_process_job_fn *fn;
} registered;

static registered *jobs; /* I1; for as long as the process lives */
static size_t job_count;
static bool closed;

coil_process_job_fn *coil__process_pool_find(const char *name)
{
    for (size_t i = 0; i < job_count; i++)
        if (strcmp(jobs[i].name, name) == 0)
            return jobs[i].fn;
    return NULL;
}

void coil__process_pool_close_registry(void)
{
    closed = true;
}

int coil_process_register(const char *name, coil_process_job_fn *fn)
{
    coil_assert(fn);
    if (closed)
        return coil_raise(COIL_ERUNTIME, "jobs are registered before coil_process_init()");
    if (*name == '\0' || strlen(name) > COIL_PROCESS_NAME_MAX)
        return coil_raise(-EINVAL, "a job's name has 1 to %d bytes", COIL_PROCESS_NAME_MAX);
    if (coil__process_pool_find(name))
        return coil_raise(-EINVAL, "there is a job '%s' already", name);
    registered *more = coil__realloc(jobs, (job_count + 1) * sizeof *jobs);
    if (!more)
        return coil_raise(-ENOMEM, NULL);
    jobs = more;
    jobs[job_count++] = (registered){name, fn};
    return 0;
}

/* --- what a job writes ------------------------------------------------------------------------------------------- */

struct coil_process_output {
    coil__bytes bytes;
};

int coil_process_output_write(coil_process_output *output, const void *data, size_t n)
{
    return coil__bytes_append(&output->bytes, data, n) < 0 ? coil_raise(-ENOMEM, NULL) : 0;
}

/* --- the socket -------------------------------------------------------------------------------------------------- */

/* False at the end of the file, and after an error, which means that the pool has gone as well. */
static bool receive(int fd, void *data, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = recv(fd, (char *)data + got, n - got, 0);
        if (r == 0 || (r < 0 && errno != EINTR))
            return false;
        got += r > 0 ? (size_t)r : 0;
    }
    return true;
}

/* Reads @n bytes for which there is no memory. */
static bool skip(int fd, uint64_t n)
{
    char scratch[4096];
    while (n > 0) {
        size_t part = n < sizeof scratch ? (size_t)n : sizeof scratch;
        if (!receive(fd, scratch, part))
            return false;
        n -= part;
    }
    return true;
}

/* --- jobs -------------------------------------------------------------------------------------------------------- */

static int call(const char *name, const void *data, size_t n, coil_process_output *output)
{
    coil_process_job_fn *fn = coil__process_pool_find(name);
    if (!fn)
        return coil_raise(COIL_ELOOKUP, "no job '%s' is registered in the worker process", name);
    return fn(data, n, output);
}

static bool answer(int fd, int code, const void *data, size_t n)
{
    coil__job_header header = {.magic = COIL__JOB_MAGIC, .code = code, .bytes = n};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)data, n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t r = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (r < 0 && errno != EINTR)
            return false;
        coil__process_pool_skip(parts, 2, r > 0 ? (uint64_t)r : 0);
    }
    return true;
}

static bool run(int fd, const char *name, const void *data, size_t n)
{
    coil_process_output output = {0};
    bool sent;
    coil_error *e = coil_catch(call(name, data, n, &output));
    fflush(NULL); /* I2 */
    if (e)
        sent = answer(fd, coil_error_code(e), coil_error_message(e), strlen(coil_error_message(e)));
    else
        sent = answer(fd, 0, output.bytes.data, coil__bytes_size(&output.bytes));
    coil_error_release(e);
    coil__bytes_fini(&output.bytes);
    return sent;
}

/* One job. False: there will be no other. */
static bool serve(int fd)
{
    coil__job_header header;
    char name[COIL_PROCESS_NAME_MAX + 1] = "";
    if (!receive(fd, &header, sizeof header) || header.name_bytes >= sizeof name ||
        !receive(fd, name, header.name_bytes))
        return false;
    void *data = coil__malloc(header.bytes ? header.bytes : 1);
    if (!data)
        return skip(fd, header.bytes) && answer(fd, -ENOMEM, NULL, 0);
    bool alive = receive(fd, data, header.bytes) && run(fd, name, data, header.bytes);
    coil__free(data);
    return alive;
}

_Noreturn void coil__process_pool_work(int fd)
{
    while (serve(fd)) {
    }
#ifdef COIL_ASAN
    __lsan_do_leak_check(); /* _exit() would not */
#endif
    _exit(0);
}
