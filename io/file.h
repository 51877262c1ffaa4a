/*
 * file.h - files inside
 *
 * I1 `buffer` holds what was read from position on, but not asked for yet; `position` is that of its first byte
 * I2 busy: a call that uses the position, or the buffer, is under way; guarded by the latch. Who is busy has the rest; it
 *    stores `position` under the latch, for coil_file_tell()
 * I3 the descriptor's own position is used for appending only: the kernel leaves it behind what it has written
 */
#ifndef COIL_IO_FILE_H
#define COIL_IO_FILE_H

#include <coil/file.h>

#include "bytes.h"
#include "call.h"

#include "../src/base/latch.h"

struct coil_file {
    int fd;
    bool append;
    coil__latch latch;
    bool busy;          /* I2 */
    int64_t position;   /* I1 */
    coil__bytes buffer; /* I1 */
};

/* coil_file_open(), which tells the type and size that the file had then; and the size of a file whose type has one. */
COIL_SUSPENDS int coil__file_open(const char *path, int flags, mode_t mode, struct statx *st, coil_file **file);
int coil__file_size_in(const struct statx *st, int64_t *bytes);

/* At most 1 GiB of @data at @offset, or an array of @n buffers; -1: where the descriptor stands. */
void coil__file_init_transfer(coil__call *c, const coil_file *file, enum coil__op_kind kind, const void *data, size_t n,
                              int64_t offset);

/* A call in a task of whatever loop, whose result is returned, or raised with "@what: ...". */
COIL_SUSPENDS int coil__file_call(coil__call *c, const char *what);

#endif
