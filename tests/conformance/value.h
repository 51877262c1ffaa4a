/*
 * value.h - the values of the scenario language
 *
 * One heap object per value, never freed: a scenario is short, and its trace must not depend on destruction. The
 * memory comes from chunks, of which every thread has its own; a global list keeps them reachable.
 *
 * I1 values are immutable but for the objects of the library that they point to
 * I2 what the interpreter hands to the library as a *result* is packed (value_pack), so that a result that the library
 *    made itself, the outcomes of a gather, can be told from ours
 * I3 several threads run scenario code at a time if the runtime has several workers; what they share is atomic, or
 *    guarded by world_lock(), which is never held while anything of the scenario runs
 */
#ifndef SCENARIO_VALUE_H
#define SCENARIO_VALUE_H

#include <coil.h>

typedef struct value value;
typedef struct definition definition;

/* What a call is given: positional arguments, then those with a name. */
typedef struct keyword {
    const char *name;
    value *value;
} keyword;

typedef struct arguments {
    size_t n, keywords_n;
    value **items;
    keyword *keywords;
} arguments;

/*
 * A builtin or a method. self is NULL for a builtin. Returns 0 with *out set (it points to None at entry), or the code
 * of what it raises. With `suspends` calling it makes a coroutine value, and run is the coroutine's body.
 */
typedef int native_fn(value *self, const arguments *args, value **out);
typedef struct native {
    const char *name;
    native_fn *run;
    size_t min, max; /* positional arguments */
    bool suspends;
} native;

enum value_type {
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_ERROR,
    VALUE_DEF,     /* a def, as a callable */
    VALUE_THREAD,  /* the name of a thread */
    VALUE_PARTIAL, /* call.self is the callable, call.args come first */
    VALUE_METHOD,  /* call.native bound to call.self; a builtin without self */
    VALUE_CORO,    /* call.function or call.native, with call.args */
    VALUE_ITERATOR, /* as_completed */
    VALUE_NEXT,    /* hidden: a coroutine of the library that a coroutine value runs */
    VALUE_AGEN,
    VALUE_JOB, /* the name of an executor job: call.native */
    VALUE_FUTURE,
    VALUE_THREAD_FUTURE,
    VALUE_HANDLE,
    VALUE_QUEUE,
    VALUE_LOCK,
    VALUE_EVENT,
    VALUE_CONDITION,
    VALUE_SEMAPHORE,
    VALUE_BARRIER,
    VALUE_GROUP,
    VALUE_TIMEOUT,
    VALUE_RUNNER,
    VALUE_VAR,
    VALUE_TOKEN,
    VALUE_CONTEXT,
    VALUE_READER,
};

struct value {
    enum value_type type;
    union {
        int64_t number; /* INT, BOOL */
        const char *text;
        struct {
            value **items;
            size_t n;
        } list;
        coil_error *error;
        struct {
            value *self;
            const definition *function;
            const native *native;
            arguments args;
        } call;
        struct {
            value *awaitables;
            int64_t timeout;
            coil_as_completed *it; /* NULL before the first step */
        } iterator;
        coil_coro next;
        coil_agen *agen;
        coil_future *future;
        coil_thread_future *thread_future;
        coil_handle *handle;
        coil_queue *queue;
        coil_lock *lock;
        coil_event *event;
        coil_condition *condition;
        coil_semaphore *semaphore;
        coil_barrier *barrier;
        coil_group *group;
        coil_timeout *timeout;
        struct runner *runner; /* loops.c */
        struct {
            coil_contextvar *var;
            coil_context_token *token; /* TOKEN */
        } context_var;
        coil_context *context;
        coil_stream_reader *reader;
    } as;
};

extern value value_none, value_true, value_false;

void *keep(size_t bytes); /* zeroed memory for the rest of the program */
char *keep_text(const char *text, size_t n);

value *value_new(enum value_type type);
value *value_bool(bool truth);
value *value_int(int64_t number);
value *value_string(const char *text, size_t n);
value *value_list(size_t n); /* of None; the caller fills the items */
value *value_error(coil_error *error); /* takes */
value *value_future(coil_future *future); /* takes a reference */
value *value_call(enum value_type type, value *self, const definition *function, const native *method,
                  const arguments *args);

/* Results on their way through the library, see I2. */
void *value_pack(value *v);
value *value_unpack(void *result);

/* gather's value becomes a list; value_unpack knows the futures that were told here. */
void value_note_gather(coil_future *future);

bool value_truth(const value *v);
bool value_is_int(const value *v); /* bools are ints */
bool value_equal(const value *a, const value *b);
int value_compare(const value *a, const value *b); /* of two ints, strings or lists: -1, 0, 1 */

/* An argument by position or, with a name, by keyword; NULL without it. */
value *argument(const arguments *args, size_t i, const char *name);

#endif
