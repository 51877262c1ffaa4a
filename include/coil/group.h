/*
 * coil/group.h - task groups: tasks that end together
 *
 * Leaving a group waits for its tasks. If one fails, the others and the body are cancelled, and the group raises
 * COIL_EGROUP with all errors (coil_error_suberrors). Between enter and exit no COIL_TRY: a task that ends without having
 * left its groups is an assertion (open_scopes); the body of coil_group_run() may return as it likes. Source: asyncio.taskgroups.
 */
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

#include <coil/task.h>
COIL_BEGIN

typedef struct coil_group coil_group;

COIL_ON_LOOP int coil_group_new(coil_group **group);

/** coil_group_enter - Errors: COIL_EBUSY the second time; COIL_ERUNTIME outside a task. */
COIL_ON_LOOP int coil_group_enter(coil_group *group);

/**
 * coil_group_create_task - a task of the group
 * @coro:    takes, also on failure
 * @options: borrows; may be NULL
 * @task:    gives; may be NULL
 *
 * Errors: COIL_ERUNTIME before enter, after the end, or while the group is shutting down.
 */
COIL_ON_LOOP int coil_group_create_task(coil_group *group, coil_coro coro, const coil_task_options *options,
                                        coil_task **task);

/** coil_group_exit - leave with the body's result @rc (negative: what it raised): wait for all tasks. */
COIL_IN_TASK COIL_SUSPENDS int coil_group_exit(coil_group *group, int rc);

/** coil_group_free - not while entered, nor with tasks left (asserted). */
COIL_ON_LOOP void coil_group_free(coil_group *group);

/** coil_group_run - new, enter, @body(group, arg), exit, free. */
COIL_IN_TASK COIL_SUSPENDS int coil_group_run(int (*body)(coil_group *group, void *arg), void *arg);

COIL_END
#endif
