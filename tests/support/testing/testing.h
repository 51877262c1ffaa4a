/*
 * testing.h - the test kit inside: what its files share
 *
 * All on the thread that runs the test; nothing is called while a task runs but the watch of new tasks.
 */
#ifndef COIL_TESTING_KIT_H
#define COIL_TESTING_KIT_H

#include <coil_testing.h>

#include "../../../src/testing.h"

/* A text of limited size, which ends with "..." if more was written. */
typedef struct coil__text {
    size_t length;
    char bytes[8192];
} coil__text;

void coil__text_add(coil__text *text, const char *format, ...) COIL_PRINTF(2, 3);

/* --- descriptors.c --- */

enum { COIL__DESCRIPTORS_MAX = 4096, COIL__LINK_BYTES = 80 };

typedef struct coil__descriptor {
    int fd;
    char link[COIL__LINK_BYTES]; /* what /proc/self/fd says, cut if need be */
} coil__descriptor;

/* The open descriptors, in the order of their numbers; at most @max. Returns how many. */
size_t coil__descriptors_list(coil__descriptor *list, size_t max);

/* Adds a line for each that is open now and was not when @before was listed. */
void coil__descriptors_describe_new(coil__text *text, const coil__descriptor *before, size_t n, int wake_fd);

/* --- origin.c --- */

enum { COIL__ORIGIN_FRAMES = 12 };

/* Where a task was made: a backtrace. */
typedef struct coil__origin {
    void *frames[COIL__ORIGIN_FRAMES];
    int count;
} coil__origin;

void coil__origin_take(coil__origin *origin);

/* "make_all at consumers.c:41", or as much of it as can be found out. */
void coil__origin_describe(const coil__origin *origin, char *buf, size_t size);

/* The same of one function. */
void coil__address_describe(const void *address, char *buf, size_t size);

#endif
