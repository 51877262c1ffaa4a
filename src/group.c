/*
 * group.c - task groups
 *
 * Called on the loop's thread: by the parent (the task that entered), by whoever adds tasks, and, one iteration after
 * the end of each task, by its done handle. Source: asyncio.taskgroups.
 *
 * I1 a child is in `children`, in the order of creation, until its done handle has run; then it is freed, or, if its
 *    task failed, moved to `failed`, in the order of completion
 * I2 a child of a group that is gone (its parent was unwound with its loop) has no group, and goes with its handle
 */
#include <coil/group.h>

#include "base/alloc.h"
#include "current.h"
#include "loop.h"
#include "sync.h"
#include "task.h"

struct coil_group {
    coil_loop *loop;
    coil__task *parent;        /* a reference while entered */
    coil__list children;       /* I1 */
    coil__list failed;         /* I1 */
    coil_future *on_completed; /* awaited by the parent in exit; owned */
    bool entered, exiting, left;
    bool aborting;
    bool parent_cancel_requested;
};

struct child {
    coil__handle done;
    coil__node node;
    coil_group *group;  /* I2 */
    coil_task *task;    /* a reference once it is done */
    coil_error *error;  /* of a failed one; owned */
};

static void group_init(coil_group *g)
{
    *g = (coil_group){.loop = NULL};
    coil__list_init(&g->children);
    coil__list_init(&g->failed);
}

int coil_group_new(coil_group **group)
{
    coil_group *g = coil__object_alloc(sizeof *g);
    if (!g)
        return coil_raise(-ENOMEM, NULL);
    group_init(g);
    *group = g;
    return 0;
}

void coil_group_free(coil_group *group)
{
    if (!group)
        return;
    coil_assert(!group->entered || group->left);
    coil_assert(coil__list_empty(&group->children));
    coil__object_free(group, sizeof *group);
}

int coil_group_enter(coil_group *group)
{
    coil_assert(group);
    if (group->entered)
        return coil_raise(COIL_EBUSY, "TaskGroup has already been entered");
    coil_loop *loop = coil_get_running_loop();
    if (!loop)
        return COIL_ENOLOOP;
    coil__task *parent = coil__current()->task;
    if (!parent)
        return coil_raise(COIL_ERUNTIME, "TaskGroup cannot determine the parent task");
    coil_retain(&parent->future);
    parent->open_scopes++;
    group->loop = loop;
    group->parent = parent;
    group->entered = true;
    return 0;
}

/* --- children -------------------------------------------------------------------------------------------------- */

static struct child *child_of_node(coil__node *n)
{
    return coil_container_of(n, struct child, node);
}

static void child_free(struct child *c)
{
    coil__node_unlink(&c->node);
    if (coil_future_done(c->task))
        coil_release(c->task);
    coil_error_release(c->error);
    coil__object_free(c, sizeof *c);
}

static void abort_children(coil_group *g)
{
    g->aborting = true;
    coil__list_foreach_safe(&g->children, it, next)
        coil_future_cancel(child_of_node(it)->task, NULL);
}

/* A task of the group has failed: the others and the parent's body are cancelled, if they are not already. */
static void on_error(coil_group *g, const struct child *c)
{
    if (coil_future_done(&g->parent->future)) {
        coil_exception_context context = {
            .message = "Task has errored out but its parent task is already completed",
            .error = c->error,
            .future = c->task,
        };
        coil_loop_call_exception_handler(g->loop, &context);
    } else if (!g->aborting && !g->parent_cancel_requested) {
        abort_children(g);
        g->parent_cancel_requested = true;
        coil_future_cancel(&g->parent->future, NULL);
    }
}

static void child_discard(coil__handle *h)
{
    child_free(coil_container_of(h, struct child, done));
}

static void child_done(coil__handle *h)
{
    struct child *c = coil_container_of(h, struct child, done);
    coil_group *g = c->group;
    coil__node_unlink(&c->node);
    if (g && g->on_completed && coil__list_empty(&g->children) && !coil_future_done(g->on_completed))
        coil__future_finish(g->on_completed, NULL, NULL);
    if (g && !coil_future_cancelled(c->task))
        c->error = coil__future_get_error(c->task);
    if (!c->error) {
        child_free(c);
        return;
    }
    coil__list_append(&g->failed, &c->node);
    on_error(g, c);
}

static const coil__handle_ops child_ops = {child_done, child_discard, "task group"};

/* Lets the children go without the group: nobody will wait for them any more. */
static void abandon(coil_group *g)
{
    while (!coil__list_empty(&g->children))
        child_of_node(coil__list_pop(&g->children))->group = NULL; /* I2 */
}

static int may_create(const coil_group *g)
{
    if (!g->entered)
        return coil_raise(COIL_ERUNTIME, "TaskGroup has not been entered");
    if (g->exiting && coil__list_empty(&g->children))
        return coil_raise(COIL_ERUNTIME, "TaskGroup is finished");
    if (g->aborting)
        return coil_raise(COIL_ERUNTIME, "TaskGroup is shutting down");
    return 0;
}

static void child_init(struct child *c, coil_group *g)
{
    coil__handle_init(&c->done, &child_ops);
    coil__node_init(&c->node);
    c->group = g;
    c->task = NULL;
    c->error = NULL;
}

/* Makes the task and has @c told of its end; @coro is taken. */
static int start(coil_group *g, struct child *c, coil_coro coro, const coil_task_options *options, coil_task **task)
{
    coil_task *t;
    COIL_TRY(coil_create_task_with(coro, options, &t));
    child_init(c, g);
    c->task = t;
    int rc = coil__future_add_counted_handle(t, &c->done);
    if (rc == 0) {
        coil__list_append(&g->children, &c->node);
        if (task)
            *task = coil_retain(t);
    }
    coil_release(t);
    return rc;
}

int coil_group_create_task(coil_group *group, coil_coro coro, const coil_task_options *options, coil_task **task)
{
    coil_assert(group);
    int rc = may_create(group);
    struct child *c = rc == 0 ? coil__object_alloc(sizeof *c) : NULL;
    if (!c) {
        coil_coro_drop(coro);
        return rc < 0 ? rc : coil_raise(-ENOMEM, NULL);
    }
    rc = start(group, c, coro, options, task);
    if (rc < 0)
        coil__object_free(c, sizeof *c);
    return rc;
}

/* --- exit ------------------------------------------------------------------------------------------------------ */

/* Suspends until the last child is done, or for one round if there is no memory to wait with. */
static int await_completion(coil_group *g)
{
    g->on_completed = coil__future_new(g->loop);
    if (!g->on_completed)
        return coil_sleep(0);
    int rc = coil_await(g->on_completed, NULL);
    coil_release(g->on_completed);
    g->on_completed = NULL;
    return rc;
}

/*
 * Waits for the children, through any number of cancellations; the first one that is not due to the group itself aborts
 * it and becomes *@cancelled. Fails only if the loop is being freed.
 */
static int await_children(coil_group *g, coil_error **cancelled)
{
    while (!coil__list_empty(&g->children)) {
        int rc = await_completion(g);
        if (rc == -ECANCELED && !g->aborting) {
            coil_error_release(*cancelled);
            *cancelled = coil_catch(rc);
            abort_children(g);
        } else if (rc < 0 && rc != -ECANCELED) {
            abandon(g);
            return rc;
        }
    }
    return 0;
}

/* The errors of the failed children, and the body's (may be NULL), as one; NULL without any. Empties `failed`. */
static coil_error *collect_errors(coil_group *g, coil_error *body)
{
    size_t n = body != NULL;
    coil__list_foreach_safe(&g->failed, it, next)
        n++;
    if (n == 0)
        return NULL;
    coil_error **errors = coil__malloc(n * sizeof *errors), *group;
    size_t i = 0;
    while (!coil__list_empty(&g->failed)) {
        struct child *c = child_of_node(coil__list_first(&g->failed));
        if (errors)
            errors[i++] = coil_error_retain(c->error);
        child_free(c);
    }
    if (!errors)
        return coil_error_new(COIL_EGROUP, NULL);
    if (body)
        errors[i] = coil_error_retain(body);
    group = coil_error_new_group("unhandled errors in a TaskGroup", errors, n);
    for (i = 0; i < n; i++)
        coil_error_release(errors[i]);
    coil__free(errors);
    return group;
}

/* What leaving raises: gives; NULL for nothing. */
static coil_error *outcome(coil_group *g, coil_error *body, coil_error *cancelled)
{
    if (cancelled && coil__list_empty(&g->failed))
        return coil_error_retain(cancelled);
    bool body_failed = body && coil_error_code(body) != -ECANCELED;
    coil_error *errors = collect_errors(g, body_failed ? body : NULL);
    return errors ? errors : coil_error_retain(body);
}

static void leave(coil_group *g)
{
    while (!coil__list_empty(&g->failed))
        child_free(child_of_node(coil__list_first(&g->failed)));
    coil__task_close_scope();
    g->left = true;
    coil_release(&g->parent->future);
}

int coil_group_exit(coil_group *group, int rc)
{
    coil_assert(group);
    coil_assert(group->entered);
    coil_assert(!group->left);
    coil_error *body = coil_catch(rc), *cancelled = rc == -ECANCELED ? coil_error_retain(body) : NULL;
    group->exiting = true;
    if (group->parent_cancel_requested && coil_task_uncancel(&group->parent->future) == 0) {
        coil_error_release(cancelled);
        cancelled = NULL;
    }
    if (rc < 0 && !group->aborting)
        abort_children(group);
    int waited = await_children(group, &cancelled);
    coil_error *raised = waited < 0 ? coil_catch(waited) : outcome(group, body, cancelled);
    leave(group);
    coil_error_release(body);
    coil_error_release(cancelled);
    return raised ? coil_raise_error(raised) : rc;
}

int coil_group_run(int (*body)(coil_group *group, void *arg), void *arg)
{
    coil_assert(body);
    coil_group group;
    group_init(&group);
    COIL_TRY(coil__task_needed());
    COIL_TRY(coil_group_enter(&group));
    return coil_group_exit(&group, body(&group, arg));
}
