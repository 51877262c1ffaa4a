/*
 * limit.h - what the servers in this directory have in common: arguments, listeners, threads
 *
 * The physical limits for W9: the work of coil-echo-server written straight on the kernel's interface, with nothing of
 * coil's. Each program has a main() that calls limit_main() with the function that serves. Each worker is a thread with
 * a listener of its own on the same port (SO_REUSEPORT), among which the kernel divides the connections; they share
 * nothing. One worker is the main thread. Prints the same line as coil-echo-server; SIGTERM ends it as it ends any
 * program.
 */
#ifndef COIL_PERF_LIMIT_H
#define COIL_PERF_LIMIT_H

/* Serves @listener, for ever; returns when it cannot, having said why. Called by each worker. */
typedef void limit_serve(int listener);

int limit_main(int argc, char **argv, const char *name, limit_serve *serve);

/* Messages are small, and wait for nothing. */
void limit_no_delay(int fd);

/* Says on stderr what went wrong: @what, and the text of the positive errno @code. */
void limit_complain(const char *what, int code);

#endif
