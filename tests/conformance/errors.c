/*
 * errors.c - the exception kinds: names, codes, and which kind catches which
 *
 * Source: the tree of kinds in the scenario language.
 */
#include "errors.h"

#include <string.h>

#include "world.h"

enum parent { NOTHING, BASE, EXCEPTION, RUNTIME };

struct error_kind {
    const char *name;
    int code;           /* 0 for kinds that are only parents */
    enum parent parent; /* the kind that also catches it */
    enum parent self;   /* which parent it is itself, if it is one */
    bool constructible;
};

static const error_kind kinds[] = {
    {"BaseException", 0, NOTHING, BASE, false},
    {"CancelledError", -ECANCELED, BASE, NOTHING, true},
    {"GeneratorExit", COIL_EGENERATOREXIT, BASE, NOTHING, false},
    {"Exception", 0, BASE, EXCEPTION, false},
    {"TimeoutError", -ETIMEDOUT, EXCEPTION, NOTHING, true},
    {"InvalidStateError", COIL_EINVALIDSTATE, EXCEPTION, NOTHING, true},
    {"QueueEmpty", COIL_EQUEUEEMPTY, EXCEPTION, NOTHING, true},
    {"QueueFull", COIL_EQUEUEFULL, EXCEPTION, NOTHING, true},
    {"ValueError", -EINVAL, EXCEPTION, NOTHING, true},
    {"TypeError", COIL_ETYPE, EXCEPTION, NOTHING, false},
    {"StopAsyncIteration", COIL_ESTOPITERATION, EXCEPTION, NOTHING, false},
    {"LimitOverrunError", COIL_ELIMITOVERRUN, EXCEPTION, NOTHING, false},
    {"IncompleteReadError", COIL_EINCOMPLETEREAD, EXCEPTION, NOTHING, false},
    {"BrokenBarrierError", COIL_EBROKENBARRIER, RUNTIME, NOTHING, true},
    {"RuntimeError", COIL_ERUNTIME, EXCEPTION, RUNTIME, true},
    {"ExceptionGroup", COIL_EGROUP, EXCEPTION, NOTHING, false},
    {"E1", COIL_EUSER(1), EXCEPTION, NOTHING, true},
    {"E2", COIL_EUSER(2), EXCEPTION, NOTHING, true},
    {"E3", COIL_EUSER(3), EXCEPTION, NOTHING, true},
    {"E4", COIL_EUSER(4), EXCEPTION, NOTHING, true},
    {"E5", COIL_EUSER(5), EXCEPTION, NOTHING, true},
    {"E6", COIL_EUSER(6), EXCEPTION, NOTHING, true},
    {"E7", COIL_EUSER(7), EXCEPTION, NOTHING, true},
    {"E8", COIL_EUSER(8), EXCEPTION, NOTHING, true},
    {"E9", COIL_EUSER(9), EXCEPTION, NOTHING, true},
};
#define KINDS_N (sizeof kinds / sizeof kinds[0])

const error_kind *error_kind_find(const char *name, size_t n)
{
    for (size_t i = 0; i < KINDS_N; i++)
        if (strlen(kinds[i].name) == n && memcmp(kinds[i].name, name, n) == 0)
            return &kinds[i];
    return NULL;
}

bool error_kind_constructible(const error_kind *kind)
{
    return kind->constructible;
}

value *error_make(const error_kind *kind, const char *message)
{
    return value_error(coil_error_new(kind->code, "%s", message ? message : "")); /* an object, not only a code */
}

/* NULL for what the language has no kind for: an OSError. */
static const error_kind *kind_of(const coil_error *error)
{
    int code = coil_error_code(error);
    if (coil_is_runtime_error(code) && code != COIL_EBROKENBARRIER)
        code = COIL_ERUNTIME;
    for (size_t i = 0; i < KINDS_N; i++)
        if (kinds[i].code == code)
            return &kinds[i];
    return NULL;
}

const char *error_kind_name(const coil_error *error)
{
    const error_kind *kind = kind_of(error);
    return kind ? kind->name : coil_error_name(coil_error_code(error));
}

static bool is_exception(const coil_error *error);

/* Python makes a BaseExceptionGroup, which is no Exception, if one of the errors is none. */
static bool group_is_exception(const coil_error *error)
{
    coil_error *const *errors;
    size_t n = coil_error_suberrors(error, &errors);
    for (size_t i = 0; i < n; i++)
        if (!is_exception(errors[i]))
            return false;
    return true;
}

static bool is_exception(const coil_error *error)
{
    const error_kind *kind = kind_of(error);
    if (kind && kind->code == COIL_EGROUP)
        return group_is_exception(error);
    return !kind || kind->parent != BASE;
}

bool error_is(const coil_error *error, const error_kind *wanted)
{
    const error_kind *kind = kind_of(error);
    if (wanted->self == BASE)
        return true;
    if (wanted->self == EXCEPTION)
        return is_exception(error);
    if (wanted->self == RUNTIME)
        return kind && (kind == wanted || kind->parent == RUNTIME);
    return kind == wanted;
}

value *error_suberrors(const coil_error *error)
{
    coil_error *const *errors;
    size_t n = coil_error_suberrors(error, &errors);
    value *list = value_list(n);
    for (size_t i = 0; i < n; i++)
        list->as.list.items[i] = value_error(coil_error_retain(errors[i]));
    return list;
}

int error_raise(const value *error)
{
    if (error->type != VALUE_ERROR)
        die("only an exception can be raised");
    return coil_raise_error(coil_error_retain(error->as.error));
}
