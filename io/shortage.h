/*
 * shortage.h - who waits for descriptors to be free again
 *
 * Descriptors run out for the whole process, and any loop's connection that closes gives one back; so this is a list
 * of the process. Who waits on it is called once, by a handle, on the loop that it names.
 */
#ifndef COIL_IO_SHORTAGE_H
#define COIL_IO_SHORTAGE_H

#include "../src/base/list.h"
#include "../src/loop.h"

typedef struct coil__shortage {
    coil__node node;
    coil_loop *loop;     /* that the handle is posted to; its owner takes the wait back before the loop goes */
    coil__handle handle;
    bool called;         /* the handle was posted, and has not run */
} coil__shortage;

void coil__shortage_init(coil__shortage *s, coil_loop *loop, const coil__handle_ops *ops);

/* Waits. Not while it waits already, or was called. */
void coil__shortage_wait(coil__shortage *s);

/* Waits no more. True: the handle is on its way, and will run or be discarded; it has to call coil__shortage_met(). */
bool coil__shortage_leave(coil__shortage *s);
void coil__shortage_met(coil__shortage *s);

/* Calls at once, though it did not wait. Not while it is called already. */
void coil__shortage_call(coil__shortage *s);

/* A descriptor was closed: calls those who wait. From any thread. */
void coil__shortage_ends(void);

#endif
