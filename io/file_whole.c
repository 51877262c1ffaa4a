/*
 * file_whole.c - whole files; see coil/file.h
 *
 * In a task, on any worker. Both close the file also when they fail, with the error that came first; but a
 * cancellation that comes with closing is not swallowed.
 */
#define _GNU_SOURCE /* struct statx */
#include "file.h"

#include <stdlib.h>

#define GROWTH_BYTES ((size_t)64 * 1024)

/* Ends with @rc; or with what closing raises, if that is the first error, or tells that the task was cancelled. */
static int close_with(coil_file *file, int rc)
{
    coil_error *e = coil_catch(rc);
    int closed = coil_file_close(file);
    if (!e || closed == -ECANCELED) {
        coil_error_release(e);
        return closed;
    }
    coil_error_release(coil_catch(closed));
    return coil_raise_error(e);
}

/* Room for one byte more than @n at *data, with a zero in it later. */
static int grow(char **data, size_t n)
{
    char *grown = realloc(*data, n + 1); /* the caller of coil_read_file() frees it with free() */
    if (!grown)
        return coil_raise(-ENOMEM, NULL);
    *data = grown;
    return 0;
}

/* The size that opening told is a hint: files of the kernel's own say 0, others may be growing. */
static int read_to_the_end(coil_file *file, const struct statx *st, char **data, size_t *n)
{
    int64_t told;
    size_t cap = 0, got = 1;
    COIL_TRY(coil__file_size_in(st, &told));
    for (*n = 0; got > 0; *n += got) {
        if (*n == cap) {
            cap = *n == 0 && told > 0 ? (size_t)told + 1 : cap + cap / 2 + GROWTH_BYTES; /* + 1: to meet the end */
            COIL_TRY(grow(data, cap));
        }
        COIL_TRY(coil_file_pread(file, *data + *n, cap - *n, (int64_t)*n, &got));
    }
    COIL_TRY(grow(data, *n));
    (*data)[*n] = '\0';
    return 0;
}

int coil_read_file(const char *path, char **data, size_t *n)
{
    coil_file *file;
    struct statx st;
    char *all = NULL;
    size_t size = 0;
    COIL_TRY(coil__file_open(path, O_RDONLY, 0, &st, &file));
    int rc = close_with(file, read_to_the_end(file, &st, &all, &size));
    if (rc < 0) {
        free(all);
        return rc;
    }
    *data = all;
    *n = size;
    return 0;
}

int coil_write_file(const char *path, const void *data, size_t n, mode_t mode)
{
    coil_file *file;
    COIL_TRY(coil_file_open(path, O_WRONLY | O_CREAT | O_TRUNC, mode, &file));
    return close_with(file, coil_file_pwrite(file, data, n, 0));
}
