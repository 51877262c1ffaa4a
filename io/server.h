/*
 * server.h - servers inside: listeners (server.c) and clients (server_clients.c)
 *
 * The latch guards the server, its listeners and its clients; functions that say "held" are called with it held.
 *
 * I1 a listener's descriptor is closed when the server is closed, no accept is in flight (the handle has run),
 *    its timer is neither armed nor about to run, and it is not being called (shortage.h)
 * I2 a server is freed when coil_server_free() was called, all listeners' descriptors are closed, and no arrival and no
 *    client is left; by who makes the last of these true, after the latch
 * I3 a client exists from the accept until its callback has returned, or its task was dropped without running; its
 *    memory until the task was made, too (`starting`): it may have run to its end on another worker by then. That of a
 *    protocol exists until its transport is gone
 */
#ifndef COIL_IO_SERVER_H
#define COIL_IO_SERVER_H

#include <coil/protocol.h>

#include "shortage.h"
#include "stream.h"

#include "../src/timer.h"

typedef struct coil__listener {
    struct coil__op accept;
    coil__accepted accepted; /* what it has accepted, where it does so many times */
    coil__timer retry;       /* armed while accepting is paused for want of resources */
    coil__shortage shortage; /* called when there may be descriptors again; or to begin, at home */
    coil_server *server;
    coil_loop *home;   /* where it accepts; of the runtime of the server's loop */
    int fd;            /* owned; -1: closed (I1) */
    bool accepting;    /* the operation was submitted, and its handle has not run */
    bool retrying;     /* the timer was armed, and its handle has not run */
    bool one_by_one;   /* since descriptors have run out, until one is accepted */
} coil__listener;

typedef struct coil__client {
    coil__node node; /* in the server's list */
    coil_server *server;
    coil_stream *stream;       /* the callback's */
    coil_task *task;           /* owned; NULL while it is being made, and for protocols */
    coil_transport *transport; /* of a protocol; there until it is gone; NULL for streams */
    uint64_t cancelled;        /* the last round of cancelling that it was in */
    bool starting, over;       /* I3 */
} coil__client;

struct coil_server {
    coil_loop *loop; /* held */
    coil__latch latch;
    coil_client_connected *callback; /* of servers of streams */
    coil_protocol_factory *factory;  /* of servers of protocols; NULL: the others */
    void *arg;
    coil_server_options options;
    coil_context *context; /* that coil_start_server() was called in; owned */
    coil__list clients;
    size_t client_count, arrival_count;
    unsigned next_worker;       /* to be given a connection */
    uint64_t rounds;            /* of cancelling all clients */
    coil__list closing;         /* wait_closed */
    coil_future *serving;       /* serve_forever's; borrowed from its frame */
    size_t open_listeners;      /* whose descriptors are open */
    bool hands_on;              /* connections begin on all workers in turn */
    bool unix_sockets;          /* which do not take options from the listening one */
    bool given;                 /* the socket is the program's own: others who have it go on when this server closes */
    bool closed, freed, told;   /* told: the exception handler knows that resources have run out */
    size_t listener_count;
    coil__listener listeners[];
};

/* Gives the latch back after something has ended, and tells those who wait for the end of all. @s may be freed: I2. */
void coil__server_leave(coil_server *s, const coil__guard *guard);

/* Tells the exception handler. @error is borrowed. */
void coil__server_report(coil_server *s, const char *message, coil_error *error, coil_future *future);

/* Begins to serve an accepted descriptor, which it takes. */
void coil__server_serve(coil_server *s, int fd);

/* Cancels the tasks of all clients, and aborts those without a task. Returns how many there were. */
int coil__server_cancel_clients(coil_server *s);

#endif
