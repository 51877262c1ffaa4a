/*
 * context.c - context variables
 *
 * A context is a mutable box around an immutable, counted map; copying a context shares the map. Contexts are
 * small, so the map is an array. The empty context is NULL wherever coil keeps one, so that programs without
 * variables pay nothing.
 *
 * Called on any thread. A context may be shared by tasks and callbacks that run on several workers at the same
 * time, if the program gives it to all of them: then each get sees what some set left, and a set or reset takes
 * effect as a whole. A set builds the new map aside, from a reference to the old one, and swaps it in if that is
 * still there; else again.
 *
 * I1 a map and a cell never change while more than one reference exists; counts are atomic, since a context may be
 *    given to another thread (call_soon_threadsafe)
 * I2 entered: some coil_context_run() of it has not returned
 * I3 the context's latch guards map, entered, and `used` of tokens of this context. References that go are released
 *    after it, since the last one may run a value's drop function
 * I4 the slot of the current context is touched by the code that runs there only
 *
 * Source: PEP 567, CPython's contextvars.
 */
#include "context.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/latch.h"
#include "current.h"
#include "task.h"

typedef struct cell {
    _Atomic uint32_t refs;
    void *value;
    void (*drop)(void *);
} cell;

typedef struct map {
    _Atomic uint32_t refs;
    uint32_t count;
    struct {
        coil_contextvar *var;
        cell *cell;
    } entries[];
} map;

struct coil_context {
    _Atomic uint32_t refs;
    coil__latch latch; /* I3 */
    bool entered;      /* I2 */
    map *map;          /* NULL: empty */
};

struct coil_contextvar {
    char *name;
    void (*drop)(void *);
    void *default_value;
    bool has_default;
};

struct coil_context_token {
    coil_context *context; /* a reference */
    coil_contextvar *var;
    cell *old; /* a reference; NULL: it was not set */
    bool used; /* I3 */
};

/* --- counting --------------------------------------------------------------------------------------------------- */

/* [CTX-1] relaxed increments: the caller has a reference. acq_rel decrements: all use is over before the last frees. */
static void cell_release(cell *c)
{
    if (!c || fetch_sub_acq_rel(&c->refs, 1) != 1) /* [CTX-1] */
        return;
    if (c->drop)
        c->drop(c->value);
    coil__free(c);
}

static cell *cell_retain(cell *c)
{
    if (c)
        fetch_add_relaxed(&c->refs, 1); /* [CTX-1] */
    return c;
}

static map *map_retain(map *m)
{
    if (m)
        fetch_add_relaxed(&m->refs, 1); /* [CTX-1] */
    return m;
}

static void map_release(map *m)
{
    if (!m || fetch_sub_acq_rel(&m->refs, 1) != 1) /* [CTX-1] */
        return;
    for (uint32_t i = 0; i < m->count; i++)
        cell_release(m->entries[i].cell);
    coil__free(m);
}

coil_context *coil_context_retain(coil_context *context)
{
    if (context)
        fetch_add_relaxed(&context->refs, 1); /* [CTX-1] */
    return context;
}

void coil_context_release(coil_context *context)
{
    if (!context || fetch_sub_acq_rel(&context->refs, 1) != 1) /* [CTX-1] */
        return;
    map_release(context->map);
    coil__free(context);
}

/* --- the current context ----------------------------------------------------------------------------------------- */

static coil_context **current_slot(void)
{
    coil__current_state *current = coil__current();
    return current->task ? &current->task->step.context : &current->context;
}

/* Its map as it is now, with a reference. */
static map *map_of(coil_context *context)
{
    if (!context)
        return NULL;
    COIL__GUARD(&context->latch);
    return map_retain(context->map);
}

/* Takes @m, also on failure. */
static coil_context *new_context(map *m)
{
    coil_context *context = coil__malloc(sizeof *context);
    if (!context) {
        map_release(m);
        return NULL;
    }
    store_relaxed(&context->refs, 1); /* [CTX-1] not shared yet */
    coil__latch_init(&context->latch);
    context->entered = false;
    context->map = m;
    return context;
}

coil_context *coil__context_copy_current(int *rc)
{
    map *m = map_of(*current_slot());
    if (!m)
        return NULL;
    coil_context *copy = new_context(m);
    if (!copy)
        *rc = coil_raise(-ENOMEM, NULL);
    return copy;
}

coil_context *coil__context_for(coil_context *given, int *rc)
{
    return given ? coil_context_retain(given) : coil__context_copy_current(rc);
}

int coil_copy_context(coil_context **context)
{
    coil_context *copy = new_context(map_of(*current_slot()));
    if (!copy)
        return coil_raise(-ENOMEM, NULL);
    *context = copy;
    return 0;
}

/* False if it is entered already; of two that try at the same time one gets in. */
static bool enter(coil_context *context)
{
    COIL__GUARD(&context->latch);
    bool first = !context->entered;
    context->entered = true; /* I2 */
    return first;
}

static void leave(coil_context *context)
{
    COIL__GUARD(&context->latch);
    context->entered = false;
}

int coil_context_run(coil_context *context, coil_callback *fn, void *arg)
{
    coil_context **slot = current_slot(), *outer = *slot;
    if (context == outer || !enter(context))
        return coil_raise(COIL_ERUNTIME, "cannot enter context: already entered");
    *slot = coil_context_retain(context);
    int rc = fn(arg);
    slot = current_slot(); /* the task may have moved */
    coil_debug_assert(*slot == context);
    *slot = outer;
    leave(context);
    coil_context_release(context);
    return rc;
}

/* --- variables ---------------------------------------------------------------------------------------------------- */

int coil_contextvar_new(const char *name, void (*drop)(void *), coil_contextvar **var)
{
    coil_contextvar *v = coil__calloc(sizeof *v);
    if (!v || !(v->name = coil__strdup(name))) {
        coil__free(v);
        return coil_raise(-ENOMEM, NULL);
    }
    v->drop = drop;
    *var = v;
    return 0;
}

void coil_contextvar_set_default(coil_contextvar *var, void *value)
{
    var->default_value = value;
    var->has_default = true;
}

void coil_contextvar_free(coil_contextvar *var)
{
    if (!var)
        return;
    coil__free(var->name);
    coil__free(var);
}

static cell *lookup(const map *m, const coil_contextvar *var)
{
    for (uint32_t i = 0; m && i < m->count; i++)
        if (m->entries[i].var == var)
            return m->entries[i].cell;
    return NULL;
}

/* The value in @context; false: none. */
static bool find(coil_context *context, const coil_contextvar *var, void **value)
{
    if (!context)
        return false;
    COIL__GUARD(&context->latch);
    const cell *c = lookup(context->map, var);
    if (c)
        *value = c->value;
    return c != NULL;
}

int coil_contextvar_get(coil_contextvar *var, void **value)
{
    if (find(*current_slot(), var, value))
        return 0;
    if (!var->has_default)
        return coil_raise(COIL_ELOOKUP, "%s", var->name);
    *value = var->default_value;
    return 0;
}

/* The map @m with @var set to @c (shared), or without @var if @c is NULL. NULL without memory. */
static map *changed(const map *m, coil_contextvar *var, cell *c)
{
    uint32_t n = m ? m->count : 0;
    map *copy = coil__malloc(sizeof *copy + (n + 1) * sizeof copy->entries[0]);
    if (!copy)
        return NULL;
    store_relaxed(&copy->refs, 1); /* [CTX-1] not shared yet */
    copy->count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (m->entries[i].var == var)
            continue;
        copy->entries[copy->count].var = m->entries[i].var;
        copy->entries[copy->count++].cell = cell_retain(m->entries[i].cell);
    }
    if (c) {
        copy->entries[copy->count].var = var;
        copy->entries[copy->count++].cell = cell_retain(c);
    }
    return copy;
}

/* Puts @to (taken) where @from is (borrowed, with a reference). False, nothing done: it is not there any more. */
static bool swap(coil_context *context, map *from, map *to)
{
    {
        COIL__GUARD(&context->latch);
        if (context->map != from)
            return false;
        context->map = to;
    }
    map_release(from); /* the context's */
    return true;
}

/* One try: the map that @context has gets @var set to @c. 1: done, 0: another was faster. @old: as for assign. */
static int try_assign(coil_context *context, coil_contextvar *var, cell *c, cell **old)
{
    map *before = map_of(context), *after = changed(before, var, c);
    if (!after) {
        map_release(before);
        return coil_raise(-ENOMEM, NULL);
    }
    bool done = swap(context, before, after);
    if (!done)
        map_release(after);
    else if (old)
        *old = cell_retain(lookup(before, var));
    map_release(before);
    return done;
}

/*
 * Puts @c (shared; NULL: unset) into the current context, which is made if there is none yet. @old (may be NULL)
 * gets what was there, with a reference.
 */
static int assign(coil_contextvar *var, cell *c, cell **old)
{
    coil_context **slot = current_slot();
    if (!*slot && !(*slot = new_context(NULL)))
        return coil_raise(-ENOMEM, NULL);
    coil__current_own(coil__current());
    int rc;
    do
        rc = try_assign(*slot, var, c, old);
    while (rc == 0);
    return rc < 0 ? rc : 0;
}

int coil_contextvar_set(coil_contextvar *var, void *value, coil_context_token **token)
{
    coil_context_token *t = NULL;
    cell *c = coil__malloc(sizeof *c), *old = NULL;
    if (!c || (token && !(t = coil__malloc(sizeof *t)))) {
        coil__free(c);
        return coil_raise(-ENOMEM, NULL);
    }
    store_relaxed(&c->refs, 1); /* [CTX-1] not shared yet */
    c->value = value;
    c->drop = NULL; /* on failure the value stays the caller's */
    int rc = assign(var, c, t ? &old : NULL);
    if (rc == 0)
        c->drop = var->drop;
    cell_release(c);
    if (rc < 0 || !t) {
        coil__free(t);
        return rc;
    }
    *t = (coil_context_token){.context = coil_context_retain(*current_slot()), .var = var, .old = old};
    *token = t;
    return 0;
}

/* The token's one use, of two at the same time the first's. */
static bool begin_use(coil_context_token *token)
{
    COIL__GUARD(&token->context->latch);
    bool first = !token->used;
    token->used = true;
    return first;
}

static void end_failed_use(coil_context_token *token)
{
    COIL__GUARD(&token->context->latch);
    token->used = false;
}

/* What is wrong is told in CPython's order: used, another variable's, another context's. */
int coil_contextvar_reset(coil_contextvar *var, coil_context_token *token)
{
    int rc;
    if (!begin_use(token))
        return coil_raise(COIL_ERUNTIME, "token has already been used once");
    if (token->var != var)
        rc = coil_raise(-EINVAL, "token was created by a different variable");
    else if (token->context != *current_slot())
        rc = coil_raise(-EINVAL, "token was created in a different context");
    else
        rc = assign(var, token->old, NULL);
    if (rc < 0)
        end_failed_use(token);
    return rc;
}

void coil_context_token_free(coil_context_token *token)
{
    if (!token)
        return;
    coil_context_release(token->context);
    cell_release(token->old);
    coil__free(token);
}
