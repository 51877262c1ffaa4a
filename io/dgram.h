/*
 * dgram.h - sockets for datagrams: opening them, and what the kernel does with several datagrams at a time
 */
#ifndef COIL_IO_DGRAM_H
#define COIL_IO_DGRAM_H

#include <coil/datagram.h>

#include "sock.h"

/* As coil_create_datagram_endpoint() of asyncio makes it. @remote: the default target, or none. Gives @fd. */
COIL_SUSPENDS int coil__dgram_open(coil_loop *loop, const coil_datagram_options *options, int *fd,
                                   coil_address *remote);

/* Makes a socket of the program's own one for datagrams. Takes @fd, also on failure. */
int coil__dgram_adopt(int fd);

/* Room for the control messages of UDP_GRO and UDP_SEGMENT. */
typedef union coil__dgram_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
} coil__dgram_control;

/* Asks for a message to be cut into pieces. */
void coil__dgram_ask_segments(struct msghdr *message, coil__dgram_control *control, size_t segment);

/* How large the pieces are that a received message of @n bytes was joined from; @n: it is one. */
size_t coil__dgram_segment(struct msghdr *message, size_t n);

/* Switches UDP_GRO on; without it every datagram comes alone, which is no error. */
void coil__dgram_join(int fd);

#endif
