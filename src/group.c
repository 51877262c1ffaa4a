/*
 * group.c - task groups
 *
 * Called by the parent (the task that entered), by whoever adds tasks, and, one iteration after the end of each task,
 * by its done handle: in a runtime all of them at the same time, on several workers. Source: asyncio.taskgroups.
 *
 *   child_done       the latch: out of `children`; the task did not fail: that was the last touch of the group
 *                    it failed: into `failed`, busy + 1; the first one sets aborting and parent_cancel_requested;
 *                    without the latch: cancels the others, then the parent; the latch: busy - 1
 *   create_task      the latch: busy + 1; without it: makes the task; the latch: into `children`; ...; busy - 1
 *   exit             ENTERED -> SETTLING: waits until busy is 0: a cancellation of the parent has arrived or will never
 *                    be sent; takes back what the parent has not met of it, and its count
 *                    SETTLING -> WAITING: until `children` is empty and busy is 0; the group may go then
 *
 * A cancellation that is sent while the parent runs on another worker would otherwise hit it after it has left. The
 * parent waits on a future, on_completed, which whoever makes the awaited condition true finishes under the latch.
 *
 * I1 a child is in `children`, in the order of creation, until its done handle has run; then it is freed, or, if its
 *    task failed, moved to `failed`, in the order of completion. One that is added while the group shuts down is first
 * I2 a child of a group that is gone (its parent was unwound with its loop) has no group, and goes with its handle
 * I3 who sets aborting cancels the children, from `cursor` on: the next one, which others move on if they take it out
 * I4 busy counts the calls that will touch the group again without having a child in it: exit waits for them
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
    coil__latch latch;         /* guards what follows, but for left */
    coil__list children;       /* I1 */
    coil__list failed;         /* I1 */
    coil__node *cursor;        /* I3 */
    unsigned busy;             /* I4 */
    coil_future *on_completed; /* awaited by the parent in exit; owned by it */
    coil__request request;     /* to cancel the parent; written while busy */
    bool entered, exiting, left;
    bool settling;             /* exit waits for busy only */
    bool aborting;             /* I3 */
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
    coil__latch_init(&g->latch);
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

/* The functions up to next_to_abort() are called under the latch. */
static bool complete(const coil_group *g)
{
    return g->busy == 0 && (g->settling || coil__list_empty(&g->children));
}

static void wake_if_complete(coil_group *g)
{
    if (g->on_completed && complete(g))
        coil__future_finish(g->on_completed, NULL, NULL); /* it may be done: cancelled with the parent */
}

static void take_out(coil_group *g, struct child *c)
{
    if (g->cursor == &c->node)
        g->cursor = c->node.next; /* I3 */
    coil__node_unlink(&c->node);
}

/* I3. True: the caller has to abort_children(). */
static bool begin_abort(coil_group *g)
{
    if (g->aborting)
        return false;
    g->aborting = true;
    g->cursor = coil__list_first(&g->children);
    return true;
}

/* A child is in `children` as long as somebody has a reference to its task: the loop, or the handle. */
static coil_task *next_to_abort(coil_group *g)
{
    COIL__GUARD(&g->latch);
    coil__node *n = g->cursor;
    if (n == &g->children.head) {
        g->cursor = NULL;
        return NULL;
    }
    g->cursor = n->next;
    return coil_retain(child_of_node(n)->task);
}

static void abort_children(coil_group *g)
{
    coil_task *t;
    while ((t = next_to_abort(g)) != NULL) {
        coil_future_cancel(t, NULL);
        coil_release(t);
    }
}

static void end_busy(coil_group *g)
{
    COIL__GUARD(&g->latch);
    g->busy--;
    wake_if_complete(g);
}

/* Whether this is the error that ends the group. */
static bool begin_parent_cancel(coil_group *g)
{
    COIL__GUARD(&g->latch);
    if (g->aborting || g->parent_cancel_requested)
        return false;
    g->parent_cancel_requested = true;
    return begin_abort(g);
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
    } else if (begin_parent_cancel(g)) {
        abort_children(g);
        coil__task_request(g->parent, &g->request);
    }
}

static void child_discard(coil__handle *h)
{
    child_free(coil_container_of(h, struct child, done));
}

/* Unless the child has failed the group may be gone when this is over. */
static void end_child(coil_group *g, struct child *c)
{
    COIL__GUARD(&g->latch);
    take_out(g, c);
    wake_if_complete(g);
    if (c->error) {
        coil__list_append(&g->failed, &c->node);
        g->busy++; /* I4 */
    }
}

static void child_done(coil__handle *h)
{
    struct child *c = coil_container_of(h, struct child, done);
    coil_group *g = c->group;
    if (g && !coil_future_cancelled(c->task))
        c->error = coil__future_get_error(c->task);
    bool failed = c->error != NULL;
    if (g)
        end_child(g, c);
    if (!failed) {
        child_free(c);
        return;
    }
    on_error(g, c);
    end_busy(g);
}

static const coil__handle_ops child_ops = {child_done, child_discard, "task group"};

/* Lets the children go without the group: nobody will wait for them any more. */
static void abandon(coil_group *g)
{
    while (!coil__list_empty(&g->children))
        child_of_node(coil__list_pop(&g->children))->group = NULL; /* I2 */
}

/* Why the group takes no task; NULL if it does. Under the latch. */
static const char *refusal(const coil_group *g)
{
    if (!g->entered)
        return "TaskGroup has not been entered";
    if (g->exiting && coil__list_empty(&g->children))
        return "TaskGroup is finished";
    return g->aborting ? "TaskGroup is shutting down" : NULL;
}

/* A task will be added: end_busy(). */
static int begin_create(coil_group *g)
{
    const char *why;
    {
        COIL__GUARD(&g->latch);
        why = refusal(g);
        if (!why)
            g->busy++; /* I4 */
    }
    return why ? coil_raise(COIL_ERUNTIME, "%s", why) : 0;
}

static void child_init(struct child *c, coil_group *g)
{
    coil__handle_init(&c->done, &child_ops);
    coil__node_init(&c->node);
    c->group = g;
    c->task = NULL;
    c->error = NULL;
}

/* Whether the group has begun to shut down meanwhile: then the task has to be cancelled by the caller. */
static bool add_child(coil_group *g, struct child *c)
{
    COIL__GUARD(&g->latch);
    if (g->aborting)
        coil__list_prepend(&g->children, &c->node); /* I3: not after the cursor */
    else
        coil__list_append(&g->children, &c->node);
    return g->aborting;
}

static void remove_child(coil_group *g, struct child *c)
{
    COIL__GUARD(&g->latch);
    take_out(g, c);
}

/* Makes the task and has @c told of its end, which frees @c and may be before the call is over; @coro is taken. */
static int start(coil_group *g, struct child *c, coil_coro coro, const coil_task_options *options, coil_task **task)
{
    coil_task *t;
    COIL_TRY(coil_create_task_with(coro, options, &t));
    child_init(c, g);
    c->task = t;
    bool late = add_child(g, c);
    int rc = coil__future_add_counted_handle(t, &c->done);
    if (rc < 0)
        remove_child(g, c);
    else if (task)
        *task = coil_retain(t);
    if (late)
        coil_future_cancel(t, NULL);
    coil_release(t);
    return rc;
}

int coil_group_create_task(coil_group *group, coil_coro coro, const coil_task_options *options, coil_task **task)
{
    coil_assert(group);
    int rc = begin_create(group);
    if (rc < 0) {
        coil_coro_drop(coro);
        return rc;
    }
    struct child *c = coil__object_alloc(sizeof *c);
    if (c) {
        rc = start(group, c, coro, options, task);
        if (rc < 0)
            coil__object_free(c, sizeof *c);
    } else {
        coil_coro_drop(coro);
        rc = coil_raise(-ENOMEM, NULL);
    }
    end_busy(group);
    return rc;
}

/* --- exit ------------------------------------------------------------------------------------------------------ */

static void set_on_completed(coil_group *g, coil_future *f)
{
    COIL__GUARD(&g->latch);
    g->on_completed = f;
    wake_if_complete(g);
}

/* Suspends until the group is complete, or for one round if there is no memory to wait with. */
static int await_completion(coil_group *g)
{
    coil_future *f = coil__future_new(g->loop);
    if (!f)
        return coil_sleep(0);
    set_on_completed(g, f);
    int rc = coil_await(f, NULL);
    set_on_completed(g, NULL);
    coil_release(f);
    return rc;
}

/* In two phases: for what cancels the parent (@settling), then for the children too. Tells if the former happened. */
static bool is_complete(coil_group *g, bool settling, bool *parent_cancel_requested)
{
    COIL__GUARD(&g->latch);
    g->exiting = true;
    g->settling = settling;
    *parent_cancel_requested = g->parent_cancel_requested;
    return complete(g);
}

static bool begin_abort_in_exit(coil_group *g)
{
    COIL__GUARD(&g->latch);
    return begin_abort(g);
}

/*
 * Waits through any number of cancellations; the first one that is not due to the group itself aborts it and becomes
 * *@cancelled. Fails only if the loop is being freed.
 */
static int await_group(coil_group *g, bool settling, coil_error **cancelled, bool *parent_cancel_requested)
{
    while (!is_complete(g, settling, parent_cancel_requested)) {
        int rc = await_completion(g);
        if (rc == -ECANCELED && begin_abort_in_exit(g)) {
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

/* The body is over: @cancelled is the cancellation that ended it, if one did. */
static int await_end(coil_group *g, int rc, coil_error **cancelled)
{
    bool requested;
    COIL_TRY(await_group(g, true, cancelled, &requested));
    if (requested) {
        coil__task_withdraw(g->parent, &g->request);
        coil_task_uncancel(&g->parent->future);
        if (coil__task_cancelling_met(g->parent) == 0) {
            coil_error_release(*cancelled);
            *cancelled = NULL;
        }
    }
    if (rc < 0 && begin_abort_in_exit(g))
        abort_children(g);
    bool was_requested = requested;
    COIL_TRY(await_group(g, false, cancelled, &requested));
    if (requested && !was_requested)
        coil__task_withdraw(g->parent, &g->request); /* its count stays, as in asyncio 3.11 */
    return 0;
}

int coil_group_exit(coil_group *group, int rc)
{
    coil_assert(group);
    coil_assert(group->entered);
    coil_assert(!group->left);
    coil_error *body = coil_catch(rc), *cancelled = rc == -ECANCELED ? coil_error_retain(body) : NULL;
    int waited = await_end(group, rc, &cancelled);
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
