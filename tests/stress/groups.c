/*
 * groups.c - task groups whose children end, fail, are cancelled and add others on several workers at the same time
 *
 * Tasks run groups one after the other, and others cancel them at any moment. Of each group is checked:
 *
 *   it is left only when each child has ended, once
 *   it raises COIL_EGROUP if and only if a child failed or the body raised an error, with exactly those errors
 *   its body and its children are cancelled only if one of them failed, or somebody asked for it
 *   after it no cancellation is left but one that was asked for, and none of those is lost
 *   coil_task_cancelling() is what it was; as in asyncio 3.11 one more if a child failed while the group was left
 */
#include "storm.h"

enum { TARGETS = 24, SNIPERS = 3, FAILED = 1, BODY_FAILED = 2 };

typedef struct family {
    target *parent;
    coil_group *group;
    uint64_t random;               /* the body's */
    _Atomic unsigned alive, failed;
    _Atomic bool may_cancel;       /* something has happened that cancels all children */
} family;

typedef struct member {
    family *family;
    uint64_t random;
    unsigned generation;
} member;

static int be_member(void *arg, void **result);

static void member_drop(void *arg)
{
    member *m = arg;
    atomic_fetch_sub(&m->family->alive, 1);
    free(m);
}

/* Adds a child; a group that shuts down does not take it. */
static void add_member(family *f, unsigned generation)
{
    member *m = malloc(sizeof *m);
    EXPECT(m, "no memory");
    *m = (member){f, new_stream(), generation};
    atomic_fetch_add(&f->alive, 1);
    coil_coro coro = coil_coro_make(be_member, m, member_drop, 0, "member");
    int rc = dismiss(coil_group_create_task(f->group, coro, NULL, NULL));
    bool may_refuse = atomic_load(&f->may_cancel) || asked(f->parent);
    EXPECT(rc == 0 || (rc == COIL_ERUNTIME && may_refuse), "%s", coil_error_name(rc));
}

static int wait_for_ever(void)
{
    coil_future *never;
    COIL_TRY(coil_create_future(&never));
    int rc = coil_await(never, NULL);
    coil_release(never);
    return rc;
}

static int fail(family *f)
{
    atomic_fetch_add(&f->failed, 1);
    atomic_store(&f->may_cancel, true);
    return coil_raise(COIL_EUSER(FAILED), NULL);
}

static int act(member *m)
{
    switch (below(&m->random, 10)) {
    case 0:
        return fail(m->family);
    case 1:
        COIL_TRY(coil_sleep((int64_t)(draw(&m->random) % 100000)));
        return below(&m->random, 3) == 0 ? fail(m->family) : 0;
    case 2:
        compute((int64_t)(draw(&m->random) % 10000));
        return 0;
    case 3: {
        int rc = dismiss(coil_sleep(COIL_US(50))); /* takes no notice */
        EXPECT(rc == 0 || atomic_load(&m->family->may_cancel) || asked(m->family->parent), "%s", coil_error_name(rc));
        return 0;
    }
    case 4:
        if (m->generation < 3)
            add_member(m->family, m->generation + 1);
        return 0;
    case 5:
        COIL_TRY(coil_sleep(0));
        if (m->generation < 3)
            add_member(m->family, m->generation + 1);
        return coil_sleep(0);
    case 6:
        return atomic_load(&m->family->may_cancel) ? wait_for_ever() : coil_sleep(0); /* the group's end ends it */
    default:
        for (unsigned i = below(&m->random, 6); i > 0; i--)
            COIL_TRY(coil_sleep(0));
        return 0;
    }
}

static int be_member(void *arg, void **result)
{
    member *m = arg;
    family *f = m->family;
    (void)result;
    int rc = act(m);
    if (rc == -ECANCELED)
        EXPECT(atomic_load(&f->may_cancel) || asked(f->parent), "a child was cancelled without a reason");
    member_drop(m);
    return rc;
}

static int body_end(family *f)
{
    switch (below(&f->random, 12)) {
    case 0:
        atomic_store(&f->may_cancel, true);
        return coil_raise(COIL_EUSER(BODY_FAILED), NULL);
    case 1:
        return atomic_load(&f->failed) ? wait_for_ever() : 0; /* the failed one ends it */
    case 2:
    case 3:
        compute((int64_t)(draw(&f->random) % 30000));
        return 7;
    case 4:
    case 5:
        return coil_sleep((int64_t)(draw(&f->random) % 100000));
    case 6:
        COIL_TRY(coil_sleep(0));
        return 7;
    default:
        return 7;
    }
}

static int body(coil_group *group, void *arg)
{
    family *f = arg;
    f->group = group;
    for (unsigned n = below(&f->random, 8); n > 0; n--) {
        add_member(f, 0);
        if (below(&f->random, 4) == 0)
            COIL_TRY(coil_sleep(0));
    }
    return body_end(f);
}

static int watched_body(coil_group *group, void *arg)
{
    family *f = arg;
    int rc = body(group, f);
    if (rc == -ECANCELED) {
        EXPECT(atomic_load(&f->may_cancel) || asked(f->parent), "the body was cancelled without a reason");
        atomic_store(&f->may_cancel, true);
    }
    return rc;
}

/* What a group that was left with @rc raised. */
static void check_outcome(family *f, int rc)
{
    coil_error *e = coil_catch(rc);
    unsigned failed = atomic_load(&f->failed), errors = 0;
    coil_error *const *all;
    for (size_t n = rc == COIL_EGROUP ? coil_error_suberrors(e, &all) : 0; n > 0; n--)
        errors += coil_error_code(all[n - 1]) == COIL_EUSER(FAILED);
    coil_error_release(e);
    EXPECT(atomic_load(&f->alive) == 0, "%u children have not ended", atomic_load(&f->alive));
    EXPECT(errors == failed, "%u failed, %u errors came out (%s)", failed, errors, coil_error_name(rc));
    EXPECT(rc >= 0 || rc == COIL_EGROUP || rc == -ECANCELED, "%s", coil_error_name(rc));
    EXPECT(rc != -ECANCELED || asked(f->parent), "a cancellation that nobody asked for");
}

static int raise_family(void *arg, void **result)
{
    target *t = open_target(arg);
    uint64_t random = new_stream();
    (void)result;
    while (!close_target(t)) {
        family f = {.parent = t, .random = draw(&random)};
        int rc = coil_group_run(watched_body, &f);
        check_outcome(&f, rc);
        unsigned failed = atomic_load(&f.failed);
        if (rc == -ECANCELED)
            absolve(t);
        else if (failed > 0 || rc == COIL_EGROUP)
            forgive(t);
        if (failed > 0)
            settle_with_one(t);
        else
            settle(t);
    }
    return 0;
}

static int root(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return run_targets(raise_family, TARGETS, SNIPERS);
}

int main(int argc, char **argv)
{
    return storm_main(argc, argv, root);
}
