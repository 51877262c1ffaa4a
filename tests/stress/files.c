/*
 * files.c - files from tasks on several workers, with cancellations and timeouts at random: every byte and every
 * descriptor is accounted for
 *
 * Each task has a block of one file that all share, and knows what is in it: what was written is read; a write that
 * raises may have left any part of what it was to write, and is made again. Some go through registered memory, which
 * comes and goes. Each appends records to a common log, by a descriptor of its own: a record is there once if the call
 * succeeded, and not if it raised. Timeouts expire about when the calls end; nothing comes after them. In the end as
 * many descriptors are open as in the beginning, and the log holds what it should.
 */
#define _GNU_SOURCE /* struct statx */
#include "../support/descriptors.h"
#include "storm.h"

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TASKS = 20, SNIPERS = 3, BLOCK = 48 * 1024, RECORD = 64 };

typedef struct owner {
    unsigned number;
    uint64_t random;
    coil_file *file, *log; /* shared; its own */
    unsigned char *now;    /* what is in the block */
    unsigned char *buf;
    coil_buffers *region;  /* NULL: buf is allocated */
    uint64_t records;      /* that were appended */
    target *target;
} owner;

static char directory[] = "/tmp/coil-files-XXXXXX";
static char path[64], log_path[64];
static coil_file *shared;
static _Atomic unsigned next_number;
static uint64_t appended[TASKS];
static _Atomic uint64_t calls, raised, timeouts;

/* The call's outcome; true if it was cancelled, by somebody who said so. */
static bool interrupted(owner *o, int rc)
{
    char text[256];
    atomic_fetch_add(&calls, 1);
    if (rc >= 0)
        return false;
    coil_error *e = coil_catch(rc);
    coil_error_format(e, text, sizeof text);
    coil_error_release(e);
    EXPECT(rc == -ECANCELED || rc == -ETIMEDOUT, "%s", text);
    atomic_fetch_add(rc == -ECANCELED ? &raised : &timeouts, 1);
    if (rc == -ECANCELED)
        absolve(o->target);
    return true;
}

/* --- one operation, perhaps in a timeout ----------------------------------------------------------------------- */

typedef struct transfer {
    owner *o;
    int64_t at;
    size_t n, done;
    bool writes, vector;
} transfer;

static int make(void *arg, void **result)
{
    transfer *t = arg;
    owner *o = t->o;
    int64_t offset = (int64_t)o->number * BLOCK + t->at;
    struct iovec iov[2] = {{o->buf, t->n / 2}, {o->buf + t->n / 2, t->n - t->n / 2}};
    (void)result;
    if (t->vector)
        return t->writes ? coil_file_pwritev(o->file, iov, 2, offset, &t->done)
                         : coil_file_preadv(o->file, iov, 2, offset, &t->done);
    if (!t->writes)
        return coil_file_pread(o->file, o->buf, t->n, offset, &t->done);
    COIL_TRY(coil_file_pwrite(o->file, o->buf, t->n, offset));
    t->done = t->n;
    return 0;
}

static int perform(transfer *t)
{
    uint64_t *random = &t->o->random;
    if (below(random, 3) > 0)
        return make(t, NULL);
    return coil_timeout_run(COIL_US(below(random, 300)), coil_coro_make(make, t, NULL, 0, "transfer"), NULL);
}

/* Reads until it is not interrupted; each byte is @now's or, if it is given, @then's. */
static void verify(owner *o, int64_t at, size_t n, const unsigned char *then)
{
    transfer t = {.o = o, .at = at, .n = n, .vector = below(&o->random, 4) == 0};
    while (interrupted(o, perform(&t))) {
    }
    EXPECT(t.done == n, "%zu of %zu bytes", t.done, n);
    for (size_t i = 0; i < n; i++)
        EXPECT(o->buf[i] == o->now[at + (int64_t)i] || (then && o->buf[i] == then[i]), "byte %zu of %zu", i, n);
}

/* A vector may be written in part, also if it was not interrupted. */
static void overwrite(owner *o, int64_t at, size_t n)
{
    transfer t = {.o = o, .at = at, .n = n, .writes = true, .vector = below(&o->random, 4) == 0};
    unsigned char *fresh = malloc(n);
    EXPECT(fresh, "no memory");
    for (size_t i = 0; i < n; i++)
        fresh[i] = (unsigned char)(draw(&o->random) >> 56);
    for (bool again = true; again;) {
        memcpy(o->buf, fresh, n);
        again = interrupted(o, perform(&t));
        if (again)
            verify(o, at, n, fresh);
    }
    EXPECT(t.done == n, "%zu of %zu bytes", t.done, n);
    memcpy(o->now + at, fresh, n);
    free(fresh);
}

/* --- other things to do ------------------------------------------------------------------------------------------- */

static void append_record(owner *o)
{
    char record[RECORD + 1];
    snprintf(record, sizeof record, "%08u %020llu %*s\n", o->number, (unsigned long long)o->records, RECORD - 31, "x");
    if (!interrupted(o, coil_file_write(o->log, record, RECORD)))
        o->records++;
}

static void open_and_close(owner *o)
{
    coil_file *file;
    struct statx st;
    if (interrupted(o, coil_file_open(below(&o->random, 2) ? path : log_path, O_RDONLY, 0, &file)))
        return;
    if (below(&o->random, 2))
        (void)interrupted(o, coil_file_stat(file, &st));
    if (below(&o->random, 2))
        (void)interrupted(o, coil_file_datasync(file));
    (void)interrupted(o, coil_file_close(file)); /* closed all the same */
}

static void free_buf(owner *o)
{
    if (o->region)
        coil_buffers_free(o->region);
    else
        free(o->buf);
    o->region = NULL;
}

static void change_buf(owner *o)
{
    free_buf(o);
    int rc = dismiss(coil_buffers_new(coil_get_running_loop(), BLOCK, &o->region));
    EXPECT(rc == 0 || rc == -EAGAIN, "%s", coil_error_name(rc));
    o->buf = rc == 0 ? coil_buffers_data(o->region) : malloc(BLOCK);
    EXPECT(o->buf, "no memory");
}

static void step(owner *o)
{
    int64_t at = below(&o->random, BLOCK);
    size_t n = 1 + below(&o->random, (unsigned)(BLOCK - at));
    switch (below(&o->random, 12)) {
    case 0:
        change_buf(o);
        break;
    case 1:
        open_and_close(o);
        break;
    case 2:
    case 3:
        append_record(o);
        break;
    case 4:
    case 5:
    case 6:
        overwrite(o, at, n);
        break;
    default:
        verify(o, at, n, NULL);
        break;
    }
}

static int own(void *arg, void **result)
{
    owner o = {.number = atomic_fetch_add(&next_number, 1), .random = new_stream(), .file = shared};
    (void)result;
    o.target = open_target(arg);
    o.now = calloc(1, BLOCK);
    o.buf = malloc(BLOCK);
    EXPECT(o.now && o.buf && o.number < TASKS, "no memory");
    while (interrupted(&o, coil_file_open(log_path, O_WRONLY | O_APPEND, 0, &o.log))) {
    }
    while (!close_target(o.target)) {
        step(&o);
        settle(o.target);
    }
    appended[o.number] = o.records;
    free_buf(&o);
    free(o.now);
    return coil_file_close(o.log);
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void check_log(void)
{
    coil_file *log;
    const char *line;
    char text[RECORD + 1] = "";
    size_t n = 1;
    uint64_t seen[TASKS] = {0};
    EXPECT(coil_file_open(log_path, O_RDONLY, 0, &log) == 0, "the log");
    while (coil_file_readline(log, &line, &n) == 0 && n > 0) {
        unsigned number;
        unsigned long long record;
        EXPECT(n == RECORD, "a record of %zu bytes", n);
        memcpy(text, line, RECORD);
        EXPECT(sscanf(text, "%8u %20llu", &number, &record) == 2, "a record like %s", text);
        EXPECT(number < TASKS && record == seen[number], "record %llu of %u", record, number);
        seen[number]++;
    }
    for (unsigned i = 0; i < TASKS; i++)
        EXPECT(seen[i] == appended[i], "%llu records of %u", (unsigned long long)seen[i], i);
    EXPECT(coil_file_close(log) == 0, "the log");
}

static int use_files(void *arg, void **result)
{
    (void)arg, (void)result;
    COIL_TRY(coil_write_file(log_path, "", 0, 0600));
    COIL_TRY(coil_file_open(path, O_RDWR | O_CREAT, 0600, &shared));
    COIL_TRY(coil_file_truncate(shared, (int64_t)TASKS * BLOCK));
    int before = open_descriptors();
    COIL_TRY(run_targets(own, TASKS, SNIPERS));
    EXPECT(open_descriptors() <= before, "%d descriptors, not %d", open_descriptors(), before);
    check_log();
    printf("%llu calls, %llu cancelled, %llu timed out\n", (unsigned long long)calls, (unsigned long long)raised,
           (unsigned long long)timeouts);
    return coil_file_close(shared);
}

int main(int argc, char **argv)
{
    if (!mkdtemp(directory))
        return 2;
    snprintf(path, sizeof path, "%s/file", directory);
    snprintf(log_path, sizeof log_path, "%s/log", directory);
    int status = storm_main(argc, argv, use_files);
    unlink(path);
    unlink(log_path);
    rmdir(directory);
    return status;
}
