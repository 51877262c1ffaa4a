/*
 * process_pool_wire.h - what a process pool, its fork server and its workers tell each other
 *
 * Pool and server: a SOCK_SEQPACKET pair, one coil__server_message a packet. FORK carries a worker's end of the
 * SOCK_STREAM pair that the pool and that worker share; on it, a coil__job_header, then the job's name and argument;
 * back, a coil__job_header, then the result or the message of an error.
 *
 * W1 a worker is known by the number of its place in the pool. A number is used again only after the server has said
 *    that its process has ended, so that no message is about another process than its sender meant
 * W2 who only waits for its worker (the server, which alone may reap it) may send it a signal: no process identifier
 *    that was used again is ever killed
 * W3 each side ends when the other has: end of file on the socket, and, in case a process that the program has forked
 *    holds that open, the signal of prctl(PR_SET_PDEATHSIG)
 */
#ifndef COIL_IO_PROCESS_POOL_WIRE_H
#define COIL_IO_PROCESS_POOL_WIRE_H

#include <coil/process_pool.h>
#include <sys/uio.h>

enum coil__server_word {
    COIL__SERVER_FORK,    /* to the server: make worker `number`; carries its socket */
    COIL__SERVER_KILL,    /* to the server: end it */
    COIL__SERVER_REFUSED, /* from the server: there is none; value: errno */
    COIL__SERVER_ENDED,   /* from the server: it has been reaped; value: status as of waitpid */
};

typedef struct coil__server_message {
    uint32_t word;
    uint32_t number;
    int32_t value;
} coil__server_message;

#define COIL__JOB_MAGIC UINT32_C(0xc0117055)

typedef struct coil__job_header {
    uint32_t magic; /* the rest is not to be trusted after a worker's memory was damaged */
    int32_t code;   /* from the worker: 0: bytes of a result follow; negative: those of a message */
    uint64_t name_bytes;
    uint64_t bytes;
} coil__job_header;

/* --- process_pool_link.c ------------------------------------------------------------------------------------------ */

/* What is left of @n parts after the first @sent bytes. */
void coil__process_pool_skip(struct iovec *parts, size_t n, uint64_t sent);

/* --- process_pool_worker.c ---------------------------------------------------------------------------------------- */

/* The registered job of that name, or NULL. */
coil_process_job_fn *coil__process_pool_find(const char *name);

/* From now on no job can be registered. */
void coil__process_pool_close_registry(void);

/* The whole life of a worker, whose socket is @fd: jobs until its end of file. */
_Noreturn void coil__process_pool_work(int fd);

/* --- process_pool_server.c ---------------------------------------------------------------------------------------- */

/* coil_process_init() was called. */
bool coil__process_pool_ready(void);

/* Executes this program again as a fork server. Gives its socket, not blocking, and its identifier; or -errno. */
int coil__process_pool_spawn(int *fd, pid_t *pid);

/* A pair of sockets that no program executed meanwhile inherits; or -errno. */
int coil__process_pool_socketpair(int type, int pair[2]);

#endif
