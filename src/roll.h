/*
 * roll.h - the tasks of a runtime with several workers that are not done: for coil_all_tasks()
 *
 * A task enters where it is made and leaves where it ends, which may be another worker; both must cost next to nothing. So a
 * roll is an array of slots with a pointer to a task or NULL each. Its owner, the worker that makes tasks, finds a slot by
 * walking round, and adds as many again when in a whole round less than half of them were free. Leaving stores NULL.
 *
 *   who leaves, any worker                   who looks, any thread, under a latch
 *
 *   [ROLL-1] slot = NULL                     [ROLL-2] lookers = 1
 *   light fence                              heavy fence
 *   [ROLL-2] lookers: 1: waits for the latch [ROLL-1] slot: a task: take a reference to it
 *   gives the roll's reference back          [ROLL-2] lookers = 0
 *
 * Of the two fences one is first. The leaver's: whoever looks finds NULL. The looker's: the leaver waits, so that the reference
 * that keeps the task is there while the looker takes its own.
 *
 * I1 only the owner enters: a worker, on its thread, or whoever holds the latch
 * I2 chunks are only added, and freed when no worker runs any more
 * I3 a task in a roll has a reference for that
 */
#ifndef COIL_ROLL_H
#define COIL_ROLL_H

#include <coil/task.h>

#include "base/latch.h"
#include "base/list.h"

struct coil__task;
typedef struct coil__roll_chunk coil__roll_chunk;
typedef _Atomic(struct coil__task *) coil__roll_slot;

/* All zero: empty. */
typedef struct coil__roll {
    _Atomic(coil__roll_chunk *) first; /* [ROLL-3] */
    coil__roll_chunk *at;              /* where the next slot is looked for, from `cursor` on up to `end` */
    coil__roll_slot *cursor, *end;
    size_t capacity;                   /* slots */
    size_t found;                      /* free ones, in this round */
    _Atomic uint64_t entered;          /* [ROLL-4] */
} coil__roll;

/* Owner. -ENOMEM, with nothing raised. */
int coil__roll_enter(coil__roll *roll, struct coil__task *t);

/* Any worker. The reference (I3) is the caller's again. */
void coil__roll_leave(struct coil__task *t, const _Atomic uint32_t *lookers, coil__latch *latch);

/* Under @latch, any thread; coil__roll_look between them. */
void coil__roll_begin_look(_Atomic uint32_t *lookers);
void coil__roll_end_look(_Atomic uint32_t *lookers);

/* References to the tasks in @roll, of which at most @room are stored; returns how many there are. */
size_t coil__roll_look(const coil__roll *roll, coil_task **tasks, size_t room);

/* No worker runs any more: appends the tasks to @list, by their `all`, in the order in which they entered. */
size_t coil__roll_fold(coil__roll *roll, coil__list *list);

#endif
