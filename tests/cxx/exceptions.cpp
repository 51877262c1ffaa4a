/*
 * exceptions.cpp - C++: a task that suspends while exceptions are in flight finds its own when it goes on
 *
 * What is tested is in src/base/coro.c; docs/decisions/0006-exceptions-travel.md has the reasons. One program without
 * Check, each test a function; a failure names its line and ends the program.
 */
#include <coil.h>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
void cxx_hop(void);
bool cxx_on_two_threads(void (*body)(void));
}

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            std::fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
            std::_Exit(1);                                                                        \
        }                                                                                         \
    } while (0)
#define OK(call) CHECK((call) >= 0)

struct error : std::runtime_error {
    explicit error(const std::string &text) : std::runtime_error(text) {}
};

/* Runs the tasks that fn(i) is, all at the same time. */
static void run_tasks(coil_coro_fn *fn, size_t n)
{
    struct all {
        coil_coro_fn *fn;
        size_t n;
        static int body(void *arg, void **)
        {
            const all *a = static_cast<all *>(arg);
            coil_coro coros[64];
            for (size_t i = 0; i < a->n; i++)
                coros[i] = coil_coro_of(a->fn, reinterpret_cast<void *>(i));
            return coil_gather_await(coros, a->n, nullptr);
        }
    } tasks = {fn, n};
    OK(coil_run(coil_coro_of(all::body, &tasks), nullptr));
    CHECK(!std::current_exception());
    CHECK(std::uncaught_exceptions() == 0);
}

static std::string name_of(void *arg)
{
    return "task " + std::to_string(reinterpret_cast<size_t>(arg));
}

/* --- handlers -------------------------------------------------------------------------------------------------------- */

static int suspend_in_handler(void *arg, void **)
{
    const std::string name = name_of(arg);
    const size_t i = reinterpret_cast<size_t>(arg);
    CHECK(!std::current_exception());
    try {
        try {
            throw error(name);
        } catch (const error &) {
            for (size_t turns = 0; turns < i % 5 + 1; turns++) /* they leave in another order than they came */
                OK(coil_sleep(0));
            throw;
        }
    } catch (const error &e) {
        CHECK(e.what() == name);
    }
    CHECK(!std::current_exception());
    return 0;
}

static void a_handler_that_suspended_rethrows_its_own_exception()
{
    run_tasks(suspend_in_handler, 2);
    run_tasks(suspend_in_handler, 50);
}

static int suspend_in_nested_handlers(void *arg, void **)
{
    const std::string name = name_of(arg);
    try {
        throw error(name + " outer");
    } catch (const error &outer) {
        OK(coil_sleep(0));
        try {
            throw error(name + " inner");
        } catch (const error &) {
            OK(coil_sleep(0));
            try {
                throw;
            } catch (const error &inner) {
                CHECK(inner.what() == name + " inner");
                OK(coil_sleep(0));
            }
        }
        try {
            std::rethrow_exception(std::current_exception());
        } catch (const error &again) {
            CHECK(again.what() == name + " outer");
        }
        CHECK(outer.what() == name + " outer");
    }
    CHECK(!std::current_exception());
    return 0;
}

static void nested_handlers_keep_their_order()
{
    run_tasks(suspend_in_nested_handlers, 20);
}

/* --- destructors ----------------------------------------------------------------------------------------------------- */

struct suspends_when_destroyed {
    int expected;
    ~suspends_when_destroyed()
    {
        CHECK(std::uncaught_exceptions() == expected);
        OK(coil_sleep(0));
        CHECK(std::uncaught_exceptions() == expected);
    }
};

static int suspend_while_unwinding(void *arg, void **)
{
    bool throws = reinterpret_cast<size_t>(arg) % 2;
    try {
        suspends_when_destroyed guard = {throws};
        if (throws)
            throw error(name_of(arg));
        CHECK(std::uncaught_exceptions() == 0);
    } catch (const error &e) {
        CHECK(e.what() == name_of(arg));
    }
    CHECK(std::uncaught_exceptions() == 0);
    return 0;
}

static void a_destructor_may_suspend_while_the_stack_is_unwound()
{
    run_tasks(suspend_while_unwinding, 20);
}

/* --- generators, and the loop's own stack ------------------------------------------------------------------------------ */

static int yield_in_handler(coil_agen *agen, void *)
{
    try {
        throw error("generator");
    } catch (const error &) {
        OK(coil_agen_yield(agen, nullptr, nullptr));
        OK(coil_sleep(0));
        try {
            throw;
        } catch (const error &e) {
            CHECK(e.what() == std::string("generator"));
        }
    }
    return 0;
}

static int use_generator(void *, void **)
{
    coil_agen *agen;
    void *value;
    OK(coil_agen_new(yield_in_handler, nullptr, nullptr, "yield_in_handler", &agen));
    try {
        throw error("caller");
    } catch (const error &) {
        OK(coil_agen_next(agen, &value));
        try {
            throw;
        } catch (const error &e) {
            CHECK(e.what() == std::string("caller"));
        }
        CHECK(coil_agen_next(agen, &value) == COIL_ESTOPITERATION);
    }
    CHECK(!std::current_exception());
    coil_agen_release(agen);
    return 0;
}

static void a_generator_that_yields_in_a_handler_keeps_its_exception()
{
    run_tasks(use_generator, 3);
}

static void a_loop_that_runs_inside_a_handler_hides_its_exception_from_tasks()
{
    try {
        throw error("around the loop");
    } catch (const error &) {
        OK(coil_run(coil_coro_of(suspend_in_handler, nullptr), nullptr)); /* which looks for a current exception */
        try {
            throw;
        } catch (const error &e) {
            CHECK(e.what() == std::string("around the loop"));
        }
    }
}

/* --- threads --------------------------------------------------------------------------------------------------------- */

static void move_in_handlers()
{
    for (int i = 0; i < 20; i++) {
        const std::string name = std::to_string(i);
        try {
            throw error(name);
        } catch (const error &) {
            for (int hops = 0; hops < i % 3 + 1; hops++)
                cxx_hop();
            try {
                throw;
            } catch (const error &e) {
                CHECK(e.what() == name);
            }
        }
        CHECK(!std::current_exception());
        cxx_hop();
        CHECK(!std::current_exception());
    }
}

static void an_exception_in_flight_goes_to_another_thread_with_its_coroutine()
{
    CHECK(cxx_on_two_threads(move_in_handlers));
    CHECK(!std::current_exception());
}

/* --- the body's end ---------------------------------------------------------------------------------------------------- */

static int throw_out_of_the_body(void *, void **)
{
    throw error("nobody catches this");
}

static void an_exception_that_leaves_a_body_terminates()
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        std::set_terminate([] { std::_Exit(42); });
        std::_Exit(coil_run(coil_coro_of(throw_out_of_the_body, nullptr), nullptr));
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

int main()
{
    a_handler_that_suspended_rethrows_its_own_exception();
    nested_handlers_keep_their_order();
    a_destructor_may_suspend_while_the_stack_is_unwound();
    a_generator_that_yields_in_a_handler_keeps_its_exception();
    a_loop_that_runs_inside_a_handler_hides_its_exception_from_tasks();
    an_exception_in_flight_goes_to_another_thread_with_its_coroutine();
    an_exception_that_leaves_a_body_terminates();
    std::puts("exceptions: 7 tests passed");
    return 0;
}
