/*
 * file_position.c - files at their own position: reading, lines, writing; see coil/file.h
 *
 * In a task, on any worker; one at a time (file.h, I2). What is read for lines is buffered; whatever else is done at the
 * position begins where the buffer does (I1).
 *
 * Source: Python's io.BufferedReader.
 */
#include "file.h"

#include <string.h>
#include <unistd.h>

#define LINE_BLOCK_BYTES ((size_t)64 * 1024)

static bool begin(coil_file *file)
{
    COIL__GUARD(&file->latch);
    bool was_free = !file->busy;
    file->busy = true;
    return was_free;
}

static int enter(coil_file *file)
{
    coil_assert(file);
    if (begin(file))
        return 0;
    return coil_raise(COIL_EBUSY, "another task is using the file's position");
}

/* Moves on by @n bytes. Only the busy call does; under the latch all the same, as coil_file_tell() asks at any time. */
static int leave(coil_file *file, int rc, size_t n)
{
    COIL__GUARD(&file->latch);
    file->position += (int64_t)n;
    file->busy = false;
    return rc;
}

static void set_position(coil_file *file, int64_t position)
{
    COIL__GUARD(&file->latch);
    file->position = position;
}

/* --- reading ------------------------------------------------------------------------------------------------- */

/* From the position, which the caller moves. */
static int read_some(coil_file *file, void *buf, size_t cap, size_t *n)
{
    size_t size = coil__bytes_size(&file->buffer);
    if (size == 0)
        return coil_file_pread(file, buf, cap, file->position, n);
    size = size < cap ? size : cap;
    memcpy(buf, coil__bytes_first(&file->buffer), size);
    coil__bytes_consume(&file->buffer, size);
    *n = size;
    return 0;
}

int coil_file_read(coil_file *file, void *buf, size_t cap, size_t *n)
{
    COIL_TRY(enter(file));
    int rc = read_some(file, buf, cap, n);
    return leave(file, rc, rc == 0 ? *n : 0);
}

/* Reads a block behind what is buffered. *got: 0 at the end of the file. */
static int read_ahead(coil_file *file, size_t *got)
{
    coil__bytes *b = &file->buffer;
    if (coil__bytes_reserve(b, LINE_BLOCK_BYTES) < 0)
        return coil_raise(-ENOMEM, NULL);
    int64_t behind = file->position + (int64_t)coil__bytes_size(b);
    COIL_TRY(coil_file_pread(file, b->data + b->end, LINE_BLOCK_BYTES, behind, got));
    b->end += *got;
    return 0;
}

static int read_line(coil_file *file, const char **line, size_t *n)
{
    size_t searched = 0, got = 1;
    for (;;) {
        size_t size = coil__bytes_size(&file->buffer);
        const char *first = size > 0 ? coil__bytes_first(&file->buffer) : "";
        const char *newline = memchr(first + searched, '\n', size - searched);
        if (newline || got == 0) {
            *line = first;
            *n = newline ? (size_t)(newline - first) + 1 : size;
            return 0;
        }
        searched = size;
        COIL_TRY(read_ahead(file, &got));
    }
}

int coil_file_readline(coil_file *file, const char **line, size_t *n)
{
    COIL_TRY(enter(file));
    int rc = read_line(file, line, n);
    if (rc == 0)
        coil__bytes_consume(&file->buffer, *n);
    return leave(file, rc, rc == 0 ? *n : 0);
}

/* --- writing, moving ----------------------------------------------------------------------------------------- */

/* The kernel puts it at the end. Asking for the size afterwards could be cancelled, and count what others append. */
static int append_some(coil_file *file, const char *data, size_t n)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = n};
    coil__call c;
    coil__file_init_transfer(&c, file, COIL__OP_FILE_WRITEV, &iov, 1, -1);
    int res = coil__file_call(&c, "write");
    if (res > 0)
        set_position(file, lseek(file->fd, 0, SEEK_CUR)); /* I3 */
    return res;
}

static int write_appended(coil_file *file, const char *data, size_t n)
{
    while (n > 0) {
        int res = append_some(file, data, n);
        if (res < 0)
            return res;
        if (res == 0)
            return coil_raise(-ENOSPC, "write: nothing was taken");
        data += res;
        n -= (size_t)res;
    }
    return 0;
}

int coil_file_write(coil_file *file, const void *data, size_t n)
{
    COIL_TRY(enter(file));
    coil__bytes_clear(&file->buffer, LINE_BLOCK_BYTES); /* it may be about to change */
    if (file->append)
        return leave(file, write_appended(file, data, n), 0);
    int rc = coil_file_pwrite(file, data, n, file->position);
    return leave(file, rc, rc == 0 ? n : 0);
}

int coil_file_seek(coil_file *file, int64_t offset)
{
    if (offset < 0)
        return coil_raise(-EINVAL, "negative offset %lld", (long long)offset);
    COIL_TRY(enter(file));
    set_position(file, offset);
    coil__bytes_clear(&file->buffer, LINE_BLOCK_BYTES);
    return leave(file, 0, 0);
}

int64_t coil_file_tell(const coil_file *file)
{
    coil_assert(file);
    COIL__GUARD(&((coil_file *)(uintptr_t)file)->latch); /* const for the caller */
    return file->position;
}
