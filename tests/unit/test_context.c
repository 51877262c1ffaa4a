/*
 * test_context.c - context variables, and how they follow tasks and callbacks
 *
 * Most tests are the main task of a loop of its own (coil_run_with). What is expected is what contextvars does.
 */
#include "coil_test.h"

#include "base/alloc.h"

static coil_contextvar *var;

static const char *get(void)
{
    void *value;
    return coil_contextvar_get(var, &value) < 0 ? "none" : value;
}

static void set(const char *value)
{
    OK(coil_contextvar_set(var, (void *)(uintptr_t)value, NULL));
}

static void new_var(void)
{
    OK(coil_contextvar_new("var", NULL, &var));
}

TEST(contextvar_without_a_value_raises_unless_it_has_a_default)
{
    void *value = "untouched";
    new_var();
    RAISES(COIL_ELOOKUP, "var", coil_contextvar_get(var, &value));
    ck_assert_str_eq(value, "untouched");
    coil_contextvar_set_default(var, "default");
    ck_assert_str_eq(get(), "default");
    coil_contextvar_free(var);
    coil_contextvar_free(NULL);
}

static int set_inside(void *value)
{
    note("inside:%s", get());
    set(value);
    return 3;
}

TEST(contextvar_set_in_a_copied_context_stays_there)
{
    coil_context *context;
    new_var();
    trace[0] = '\0';
    OK(coil_copy_context(&context));
    ck_assert_int_eq(coil_context_run(context, set_inside, "a"), 3);
    ck_assert_int_eq(coil_context_run(context, set_inside, "b"), 3);
    TRACE_IS("inside:none inside:a");
    ck_assert_str_eq(get(), "none");
    coil_context_release(coil_context_retain(context));
    coil_context_release(context);
    coil_context_release(NULL);
    coil_contextvar_free(var);
}

static int run_itself(void *context)
{
    RAISES(COIL_ERUNTIME, "cannot enter context: already entered", coil_context_run(context, set_inside, "x"));
    return coil_raise(COIL_EUSER(1), "out");
}

TEST(context_cannot_be_entered_twice_and_passes_errors_on)
{
    coil_context *context;
    OK(coil_copy_context(&context));
    RAISES(COIL_EUSER(1), "out", coil_context_run(context, run_itself, context));
    RAISES(COIL_EUSER(1), "out", coil_context_run(context, run_itself, context)); /* it was left properly */
    coil_context_release(context);
}

TASK_TEST(contextvar_token_takes_a_set_back_once)
{
    coil_context_token *first, *second;
    new_var();
    OK(coil_contextvar_set(var, "a", &first));
    OK(coil_contextvar_set(var, "b", &second));
    ck_assert_str_eq(get(), "b");
    OK(coil_contextvar_reset(var, second));
    ck_assert_str_eq(get(), "a");
    RAISES(COIL_ERUNTIME, "token has already been used once", coil_contextvar_reset(var, second));
    OK(coil_contextvar_reset(var, first));
    ck_assert_str_eq(get(), "none");
    coil_context_token_free(first);
    coil_context_token_free(second);
    coil_contextvar_free(var);
}

static int reset_elsewhere(void *token, void **result)
{
    (void)result;
    RAISES(-EINVAL, "token was created in a different context", coil_contextvar_reset(var, token));
    return 0;
}

TASK_TEST(contextvar_token_belongs_to_its_context)
{
    coil_context_token *token;
    new_var();
    OK(coil_contextvar_set(var, "a", &token));
    OK(coil_join(spawn(coil_coro_of(reset_elsewhere, token)), NULL));
    OK(coil_contextvar_reset(var, token));
    coil_context_token_free(token);
    coil_contextvar_free(var);
}

static int change(void *value, void **result)
{
    (void)result;
    note("%s", get());
    set(value);
    COIL_TRY(coil_sleep(0));
    note("%s", get());
    return 0;
}

TASK_TEST(context_of_a_task_is_a_copy_made_when_the_task_is)
{
    new_var();
    set("main");
    coil_task *a = spawn(coil_coro_of(change, "a"));
    set("later");
    coil_task *b = spawn(coil_coro_of(change, "b"));
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    TRACE_IS("main later a b");
    ck_assert_str_eq(get(), "later");
    coil_contextvar_free(var);
}

TASK_TEST(context_given_to_a_task_is_shared_with_it)
{
    coil_context *context;
    coil_task *task;
    new_var();
    OK(coil_copy_context(&context));
    coil_task_options options = {.size = sizeof options, .context = context};
    OK(coil_create_task_with(coil_coro_of(change, "a"), &options, &task));
    OK(coil_join(task, NULL));
    ck_assert_int_eq(coil_context_run(context, set_inside, "b"), 3);
    TRACE_IS("none a inside:a");
    coil_context_release(context);
    coil_contextvar_free(var);
}

static int look(void *word)
{
    note("%s:%s", (char *)word, get());
    set("changed");
    return 0;
}

static int look_done(coil_future *future, void *word)
{
    (void)future;
    return look(word);
}

TASK_TEST(context_of_a_callback_is_a_copy_made_by_the_call)
{
    coil_loop *loop = coil_get_running_loop();
    coil_context *context;
    coil_future *future;
    new_var();
    OK(coil_create_future(&future));
    set("1");
    OK(coil_loop_call_soon(loop, look, "soon", NULL));
    OK(coil_loop_call_later(loop, COIL_MS(1), look, "later", NULL));
    OK(coil_future_add_done_callback(future, look_done, "done"));
    set("2");
    OK(coil_copy_context(&context));
    set("3");
    OK(coil_loop_call_soon_in(loop, context, look, "given", NULL));
    OK(coil_loop_call_soon_in(loop, context, look, "given", NULL));
    OK(coil_future_set_result(future, NULL));
    OK(coil_sleep(COIL_MS(2)));
    TRACE_IS("soon:1 given:2 given:changed done:1 later:1");
    ck_assert_str_eq(get(), "3");
    coil_context_release(context);
    coil_release(future);
    coil_contextvar_free(var);
}

static void drop_note(void *value)
{
    note("drop:%s", (char *)value);
}

static int set_owned(void *value, void **result)
{
    (void)result;
    OK(coil_contextvar_set(var, value, NULL));
    COIL_TRY(coil_sleep(0));
    return 0;
}

TASK_TEST(contextvar_drops_values_that_no_context_holds_any_more)
{
    OK(coil_contextvar_new("owner", drop_note, &var));
    OK(coil_join(spawn(coil_coro_of(set_owned, "a")), NULL));
    TRACE_IS("drop:a");
    OK(coil_contextvar_set(var, "b", NULL));
    coil_task *task = spawn(coil_coro_of(change, "c"));
    OK(coil_contextvar_set(var, "d", NULL));
    TRACE_IS(""); /* the task's context holds b */
    OK(coil_join(task, NULL));
    TRACE_IS("b drop:b c drop:c");
    coil_context_token *token;
    OK(coil_contextvar_set(var, "e", &token));
    OK(coil_contextvar_reset(var, token));
    TRACE_IS("drop:e");
    coil_context_token_free(token);
    ck_assert_str_eq(get(), "d");
    static coil_contextvar *volatile kept COIL_TEST_UNUSED; /* the main task's context, which outlives the test, holds d */
    kept = var;
}

TASK_TEST(contextvar_set_without_memory_changes_nothing)
{
    new_var();
    set("before");
    for (uint64_t n = 1; n <= 20; n++) {
        coil_context_token *token = NULL;
        coil__alloc_fail_at(n);
        int rc = coil_contextvar_set(var, "after", &token);
        coil__alloc_fail_at(0);
        if (rc == 0) {
            coil_context_token_free(token);
            break;
        }
        RAISES(-ENOMEM, "", rc);
        ck_assert_str_eq(get(), "before");
    }
    ck_assert_str_eq(get(), "after");
    coil_contextvar_free(var);
}

TASK_TEST(context_with_several_variables_keeps_them_apart)
{
    coil_contextvar *vars[10];
    for (intptr_t i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", (int)i);
        OK(coil_contextvar_new(name, NULL, &vars[i]));
        OK(coil_contextvar_set(vars[i], (void *)i, NULL));
    }
    OK(coil_contextvar_set(vars[5], (void *)55, NULL));
    for (intptr_t i = 0; i < 10; i++) {
        void *value;
        OK(coil_contextvar_get(vars[i], &value));
        ck_assert_int_eq((intptr_t)value, i == 5 ? 55 : i);
    }
    for (int i = 0; i < 10; i++)
        coil_contextvar_free(vars[i]);
}

COIL_TEST_MAIN("context")
