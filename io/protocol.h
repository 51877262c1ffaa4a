/*
 * protocol.h - connections that call a program's protocol, inside
 */
#ifndef COIL_IO_PROTOCOL_H
#define COIL_IO_PROTOCOL_H

#include <coil/protocol.h>

#include "transport.h"

/* Who else wants to know that a transport is gone; it may be the last thing that it hears of it. */
typedef void coil__transport_gone(void *owner);

/*
 * A transport on a connected socket or a pipe, which calls connection_made in the next iteration, and then begins to
 * receive. Takes what @wire has, one descriptor, also on failure. @owner and @gone: of a transport that goes by itself
 * after connection_lost; NULL: the program's. @made: resolved after connection_made; borrowed until then; may be NULL.
 */
int coil__protocol_open(coil_loop *loop, const coil_protocol *protocol, void *arg, const coil__wire *wire,
                        coil__transport_gone *gone, void *owner, coil_future *made, coil_transport **transport);

/* Aborts it, under a latch of its owner's, which `gone` needs: nothing of the program is called now. */
void coil__protocol_kill(coil_transport *t);

#endif
