/*
 * pipe.h - pipes inside: making descriptors fit, streams on such as are; sockets are read and written like pipes
 */
#ifndef COIL_IO_PIPE_H
#define COIL_IO_PIPE_H

#include <coil/stream.h>

/*
 * Ignores SIGPIPE, if nobody has decided what it does. Writing to a pipe without reader is -EPIPE then. It looks each
 * time, since a handler that was there the last time may have gone. Any thread.
 */
void coil__sigpipe_ignore(void);

/* A program's descriptor becomes fit to be read (O_RDONLY) or written (O_WRONLY). Codes are raised. Takes nothing. */
int coil__pipe_prepare(int fd, int flags);

/* Whether who writes hears that the reader has gone, without writing: not so of terminals and files. */
bool coil__pipe_tells(int fd);

/* On the loop's thread. They take @fd, also on failure. @limit_bytes: 0: COIL_STREAM_LIMIT. Errors: -ENOMEM. */
int coil__pipe_reader(coil_loop *loop, int fd, size_t limit_bytes, coil_stream **stream);
int coil__pipe_writer(coil_loop *loop, int fd, coil_stream **stream);

#endif
