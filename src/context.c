/*
 * context.c - context variables
 *
 * A context is a mutable box around an immutable, counted map; copying a context shares the map. Contexts are small, so
 * the map is an array. The empty context is NULL wherever coil keeps one, so that programs without variables pay nothing.
 *
 * I1 a map and a cell never change while more than one reference exists; counts are atomic, since a context may be given
 *    to another thread (call_soon_threadsafe)
 * I2 entered: some coil_context_run() of it has not returned
 *
 * Source: PEP 567, CPython's contextvars.
 */
#include "context.h"

#include "base/alloc.h"
#include "base/atomic.h"
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
    bool entered; /* I2 */
    map *map;     /* NULL: empty */
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
    bool used;
};

/* --- counting --------------------------------------------------------------------------------------------------- */

/* [CTX-1] relaxed increments: the caller has a reference. acq_rel decrements: all use is over before the last one frees. */
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

static coil_context *new_context(map *m)
{
    coil_context *context = coil__malloc(sizeof *context);
    if (!context)
        return NULL;
    store_relaxed(&context->refs, 1); /* [CTX-1] not shared yet */
    context->entered = false;
    context->map = m;
    if (m)
        fetch_add_relaxed(&m->refs, 1); /* [CTX-1] */
    return context;
}

coil_context *coil__context_copy_current(int *rc)
{
    coil_context *current = *current_slot();
    if (!current || !current->map)
        return NULL;
    coil_context *copy = new_context(current->map);
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
    coil_context *current = *current_slot();
    coil_context *copy = new_context(current ? current->map : NULL);
    if (!copy)
        return coil_raise(-ENOMEM, NULL);
    *context = copy;
    return 0;
}

int coil_context_run(coil_context *context, coil_callback *fn, void *arg)
{
    coil_context **slot = current_slot(), *outer = *slot;
    if (context->entered || context == outer)
        return coil_raise(COIL_ERUNTIME, "cannot enter context: already entered");
    context->entered = true; /* I2 */
    *slot = coil_context_retain(context);
    int rc = fn(arg);
    slot = current_slot(); /* the task may have moved */
    coil_debug_assert(*slot == context);
    coil_context_release(*slot);
    *slot = outer;
    context->entered = false;
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

static cell *lookup(const coil_context *context, const coil_contextvar *var)
{
    const map *m = context ? context->map : NULL;
    for (uint32_t i = 0; m && i < m->count; i++)
        if (m->entries[i].var == var)
            return m->entries[i].cell;
    return NULL;
}

int coil_contextvar_get(coil_contextvar *var, void **value)
{
    const cell *c = lookup(*current_slot(), var);
    if (!c && !var->has_default)
        return coil_raise(COIL_ELOOKUP, "%s", var->name);
    *value = c ? c->value : var->default_value;
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

/* Puts @c (shared; NULL: unset) into the current context, which is made if there is none yet. */
static int assign(coil_contextvar *var, cell *c)
{
    coil_context **slot = current_slot();
    if (!*slot && !(*slot = new_context(NULL)))
        return coil_raise(-ENOMEM, NULL);
    coil__current_own(coil__current());
    map *m = changed((*slot)->map, var, c);
    if (!m)
        return coil_raise(-ENOMEM, NULL);
    map_release((*slot)->map);
    (*slot)->map = m;
    return 0;
}

int coil_contextvar_set(coil_contextvar *var, void *value, coil_context_token **token)
{
    coil_context_token *t = NULL;
    cell *c = coil__malloc(sizeof *c);
    if (!c || (token && !(t = coil__malloc(sizeof *t)))) {
        coil__free(c);
        return coil_raise(-ENOMEM, NULL);
    }
    store_relaxed(&c->refs, 1); /* [CTX-1] not shared yet */
    c->value = value;
    c->drop = NULL; /* on failure the value stays the caller's */
    cell *old = cell_retain(lookup(*current_slot(), var));
    int rc = assign(var, c);
    if (rc == 0)
        c->drop = var->drop;
    cell_release(c);
    if (rc < 0 || !t) {
        cell_release(old);
        coil__free(t);
        return rc;
    }
    *t = (coil_context_token){.context = coil_context_retain(*current_slot()), .var = var, .old = old};
    *token = t;
    return 0;
}

int coil_contextvar_reset(coil_contextvar *var, coil_context_token *token)
{
    if (token->used)
        return coil_raise(COIL_ERUNTIME, "token has already been used once");
    if (token->var != var)
        return coil_raise(-EINVAL, "token was created by a different variable");
    if (token->context != *current_slot())
        return coil_raise(-EINVAL, "token was created in a different context");
    COIL_TRY(assign(var, token->old));
    token->used = true;
    return 0;
}

void coil_context_token_free(coil_context_token *token)
{
    if (!token)
        return;
    coil_context_release(token->context);
    cell_release(token->old);
    coil__free(token);
}
