/*
 * coil/pipe.h - pipes, fifos and terminals as streams; stdin, stdout and stderr; single keystrokes
 *
 * The streams are those of coil/stream.h. A reading one refuses to write with -EINVAL; a writing one reads nothing
 * but the end. Closing a writing stream, or coil_stream_write_eof(), gives the reader the end. When nobody can read
 * any more what is written, a writing stream breaks with -EPIPE, also while nothing is written.
 *
 * Descriptors have to be nonblocking, and O_NONBLOCK is not the descriptor's: all that share the open file have it, a
 * shell that waits for the program among them. So coil opens fifos, pipes and terminals anew, through /proc/self/fd,
 * where it is allowed to, and nobody else is concerned. Elsewhere O_NONBLOCK is set; for the standard descriptors
 * until the program exits.
 *
 * SIGPIPE would end the process when it writes to a pipe without reader. The first writing stream or subprocess has it
 * ignored from then on, if nothing else has been decided for it (SIG_DFL), as Python does at its start.
 *
 * Source: asyncio.unix_events' pipe transports of CPython 3.11, and its module tty.
 */
#ifndef COIL_PIPE_H
#define COIL_PIPE_H

#include <coil/stream.h>
COIL_BEGIN

/* --- streams ---------------------------------------------------------------------------------------------------- */

/**
 * coil_connect_read_pipe - a stream that reads from a pipe, fifo, socket or terminal; with a protocol instead of the
 * stream it is coil_create_read_pipe_transport()
 * @fd:          takes, also on failure; it stays the same number until the stream is closed
 * @limit_bytes: of the reader; 0: COIL_STREAM_LIMIT
 * @stream:      gives; coil_stream_close() it, then coil_stream_free() it
 *
 * Errors: -EINVAL: "Pipe transport is for pipes/sockets only."; -EPERM: a device that cannot be waited for, as
 * /dev/null; -EBADF; -ENOMEM; COIL_ENOLOOP.
 */
COIL_ON_LOOP int coil_connect_read_pipe(int fd, size_t limit_bytes, coil_stream **stream);

/** coil_connect_write_pipe - the same for writing. */
COIL_ON_LOOP int coil_connect_write_pipe(int fd, coil_stream **stream);

/**
 * coil_open_stdin - a stream that reads standard input, whatever that is: files and /dev/null as well
 * @stream: gives; closing it leaves descriptor 0 open
 *
 * It reads ahead: what it has read when it is closed is lost to other readers. So open it once. Errors: as
 * coil_connect_read_pipe, but for -EINVAL and -EPERM.
 */
COIL_ON_LOOP int coil_open_stdin(coil_stream **stream);

/**
 * coil_open_stdout, coil_open_stderr - the same for writing, on descriptors 1 and 2
 *
 * They know nothing of stdio's buffers: fflush(stdout) first. What is buffered is lost unless coil_stream_close() and
 * then coil_stream_wait_closed() are called before the program ends.
 */
COIL_ON_LOOP int coil_open_stdout(coil_stream **stream);
COIL_ON_LOOP int coil_open_stderr(coil_stream **stream);

/* --- terminals -------------------------------------------------------------------------------------------------- */

#define COIL_TERMINALS_MAX 16 /* that are changed at a time */

/* How a terminal was. */
typedef struct coil_terminal coil_terminal;

/**
 * coil_terminal_cbreak - keys at once, and without echo; Ctrl-C and Ctrl-Z still make signals
 * @fd:    a terminal; borrows, may be closed before the terminal is restored
 * @saved: gives; coil_terminal_restore() it. Several of one terminal: the newest first.
 *
 * The terminal is also restored when the program exits, and when SIGINT, SIGTERM, SIGHUP, SIGQUIT or SIGABRT ends it
 * (unless something else has been decided for them); not by SIGKILL, nor by crashes. When the program is stopped, the
 * shell sees to it. Errors: -ENOTTY; -EMFILE: COIL_TERMINALS_MAX.
 */
COIL_ANY_THREAD int coil_terminal_cbreak(int fd, coil_terminal **saved);

/** coil_terminal_raw - every byte as it comes, Ctrl-C too, and output as it is written ("\r\n"). */
COIL_ANY_THREAD int coil_terminal_raw(int fd, coil_terminal **saved);

/** coil_terminal_restore - as it was. NULL is allowed. */
COIL_ANY_THREAD void coil_terminal_restore(coil_terminal *saved);

COIL_END
#endif
