/*
 * coil/file.h - files without blocking the loop
 *
 * Reads and writes at offsets (any number of tasks at a time), at the file's own position (one task at a time, buffered
 * when reading lines), and whole files. On io_uring the kernel does the work; elsewhere a thread of the loop's default
 * executor does. A file belongs to no loop: tasks of any may use it. Pipes, terminals and sockets are streams: coil/pipe.h,
 * coil/stream.h.
 *
 * A cancelled call returns when the kernel has let go of the buffer. If it was done by then, its result is delivered, and
 * the next call that suspends raises -ECANCELED. Errors of all calls: those of the system calls behind them; -EINVAL for a
 * negative offset; -ECANCELED; -ENOMEM; and of threads, -EAGAIN. asyncio has no files; Source: open(2), pread(2), Python's io.
 */
#ifndef COIL_FILE_H
#define COIL_FILE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <coil/loop.h>
COIL_BEGIN

typedef struct coil_file coil_file;
struct statx; /* <sys/stat.h>, with _GNU_SOURCE */

/* --- opening, closing ---------------------------------------------------------------------------------------- */

/**
 * coil_file_open - open a regular file or a block device
 * @path:  relative to the current directory; borrows
 * @flags: as open(2): O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC, O_DIRECT, ...; O_CLOEXEC is added
 * @mode:  of a file that is made, less the umask
 * @file:  gives; coil_file_close() it
 *
 * Errors: those of open(2), with the path in the message; -EISDIR for a directory; -EINVAL for what is a stream (a pipe, a
 * terminal, ...).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_file_open(const char *path, int flags, mode_t mode, coil_file **file);

/** coil_file_from_fd - the same for a descriptor that is open, such as a redirected stdin. Takes @fd, on success only. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_from_fd(int fd, coil_file **file);

/**
 * coil_file_close - close, and give the memory back, whatever is returned
 * @file: takes; no other call is using it (asserted); NULL is allowed
 *
 * What was written may still be in the kernel's cache: coil_file_sync() before. Errors: those of close(2).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_file_close(coil_file *file);

/** coil_file_fd - lends the descriptor. */
COIL_ANY_THREAD int coil_file_fd(const coil_file *file);

/* --- at offsets ---------------------------------------------------------------------------------------------- */

/**
 * coil_file_pread - read at an offset
 * @buf:    borrows until return. With O_DIRECT its address, @cap and @offset must be multiples of what
 *          coil_file_get_alignment() tells
 * @cap:    bytes; one call reads at most 1 GiB
 * @offset: bytes, not negative
 * @n:      bytes read, less than @cap at the end of the file; 0 behind it
 */
COIL_IN_TASK COIL_SUSPENDS int coil_file_pread(coil_file *file, void *buf, size_t cap, int64_t offset, size_t *n);

/** coil_file_pwrite - write all of @n bytes at an offset; on failure some may have been written. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_pwrite(coil_file *file, const void *data, size_t n, int64_t offset);

/* The same with several buffers, in one request. coil_file_pwritev() tells how much it has written: @n. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_preadv(coil_file *file, const struct iovec *iov, int count, int64_t offset,
                                                size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_file_pwritev(coil_file *file, const struct iovec *iov, int count, int64_t offset,
                                                 size_t *n);

/** coil_file_sync - what was written is on the disk. coil_file_datasync: but for times and the like. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_sync(coil_file *file);
COIL_IN_TASK COIL_SUSPENDS int coil_file_datasync(coil_file *file);

/** coil_file_truncate - make it @bytes long. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_truncate(coil_file *file, int64_t bytes);

/** coil_file_stat - statx(2) of an open file, with STATX_BASIC_STATS. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_stat(coil_file *file, struct statx *st);

/** coil_stat - the same of a path, following symbolic links. Errors: with the path in the message. */
COIL_IN_TASK COIL_SUSPENDS int coil_stat(const char *path, struct statx *st);

/** coil_file_size - its length in bytes; of a block device -EINVAL. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_size(coil_file *file, int64_t *bytes);

/**
 * coil_file_get_alignment - what O_DIRECT demands
 * @memory_bytes: of addresses; @offset_bytes: of offsets and lengths
 *
 * Where the kernel does not tell (before 6.1) it is 4096 for both. Errors: -EINVAL if the file system has no O_DIRECT.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_file_get_alignment(coil_file *file, size_t *memory_bytes, size_t *offset_bytes);

/* --- at the file's position ---------------------------------------------------------------------------------- */

/*
 * The position is coil's own, 0 at first. One task at a time: another one gets COIL_EBUSY. With O_APPEND writes go to the
 * end, and the position with them.
 */

/** coil_file_read - what is there, up to @cap bytes; 0 at the end. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_read(coil_file *file, void *buf, size_t cap, size_t *n);

/**
 * coil_file_readline - a line with its newline; the last one may lack it; 0 bytes at the end
 * @line: lends @n bytes, valid until the next call on the file
 *
 * Lines may be of any length: -ENOMEM is the limit. Reads 64 KiB at a time.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_file_readline(coil_file *file, const char **line, size_t *n);

/** coil_file_write - all of @n bytes. */
COIL_IN_TASK COIL_SUSPENDS int coil_file_write(coil_file *file, const void *data, size_t n);

/** coil_file_seek - go to @offset. Errors: -EINVAL if negative, COIL_EBUSY. */
COIL_ON_LOOP int coil_file_seek(coil_file *file, int64_t offset);
COIL_ON_LOOP int64_t coil_file_tell(const coil_file *file);

/* --- whole files --------------------------------------------------------------------------------------------- */

/**
 * coil_read_file - all of a file
 * @data: gives @n bytes and a zero behind them; free() them
 */
COIL_IN_TASK COIL_SUSPENDS int coil_read_file(const char *path, char **data, size_t *n);

/** coil_write_file - make or replace a file. If that fails or is cancelled, the file may have a part of it. */
COIL_IN_TASK COIL_SUSPENDS int coil_write_file(const char *path, const void *data, size_t n, mode_t mode);

/* --- registered buffers -------------------------------------------------------------------------------------- */

/*
 * Memory that the kernel knows: on io_uring a read or write at an offset, whose buffer lies in it, does not have to look its
 * pages up. Elsewhere it is just memory. Pages are pinned (RLIMIT_MEMLOCK); where that is not allowed it works
 * without.
 */
typedef struct coil_buffers coil_buffers;

/**
 * coil_buffers_new - @bytes of memory, page-aligned, fit for O_DIRECT
 * @bytes:   1 .. 1 GiB
 * @buffers: gives
 *
 * At most 16 at a time in one loop or runtime, and one that was freed counts until all workers have let go of it:
 * -EAGAIN. Errors: -ENOMEM, -EINVAL.
 */
COIL_ON_LOOP int coil_buffers_new(coil_loop *loop, size_t bytes, coil_buffers **buffers);
COIL_ANY_THREAD void *coil_buffers_data(const coil_buffers *buffers);

/** coil_buffers_free - no call is using the memory any more. NULL is allowed. Before the loop is freed. */
COIL_ON_LOOP void coil_buffers_free(coil_buffers *buffers);

COIL_END
#endif
