/*
 * load_conn.h - one connection of the load generator: send a message, check every byte that comes back, again
 *
 * One message is under way at most: the next goes when the last one is back whole. One thread.
 *
 *   state      left by
 *   SENDING    the whole message taken by the kernel: WAITING
 *   WAITING    the last byte is back: one request is done; a new message: SENDING
 *
 * I1 received <= sent <= bytes: the server cannot return what it was not sent
 * I2 message holds what was sent, until it is back whole
 */
#ifndef COIL_PERF_LOAD_CONN_H
#define COIL_PERF_LOAD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct load_conn {
    int fd;
    uint64_t pattern;  /* the state of the sequence that messages are drawn from */
    char *message;     /* I2; owned; rounded up to whole words */
    size_t bytes;
    size_t sent;       /* of this message; I1 */
    size_t received;
    int64_t started_ns; /* when it was begun, or should have been */
    bool asking;        /* it asks the server to compute */
} load_conn;

/* Connects, blocking, to a numeric address. 0 or a negative errno. */
int load_conn_open(load_conn *c, const char *host, uint16_t port, size_t bytes, uint64_t number);
void load_conn_close(load_conn *c);

/* Begins a message. 0 or a negative errno. */
int load_conn_begin(load_conn *c, int64_t now_ns);

/* The same with a message whose first 4 bytes ask the server to compute for @compute_ns (W11). */
int load_conn_begin_asking(load_conn *c, int64_t now_ns, uint32_t compute_ns);

/* Goes on with a message that the kernel did not take whole. 0 or a negative errno. */
int load_conn_send(load_conn *c);

/*
 * Takes what has come, into @scratch of @scratch_bytes. 1: the message is back whole; 0: not yet; -EBADMSG: a byte
 * differs; -ECONNRESET: the server closed; or another negative errno.
 */
int load_conn_receive(load_conn *c, char *scratch, size_t scratch_bytes);

static inline bool load_conn_sending(const load_conn *c)
{
    return c->sent < c->bytes;
}

#endif
