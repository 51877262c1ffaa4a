/*
 * fresh_loop_tests.c - the tests of shared_loop_tests.c, each on a loop of its own: fresh_loop_tests [--careless]
 *
 * What the first one leaves behind ends with its loop, so the second passes in any order; and the test kit says who
 * has left something behind: with --careless the first test does so, and fails by itself. In one process, so that it
 * is the loops that make the difference. On a virtual clock: the tests take no time.
 * asyncio: unittest.IsolatedAsyncioTestCase
 */
#include <coil_testing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static coil_queue *letter_box; /* the program's, global as such things are */
static bool careless;

static int open_letters(void *arg, void **result)
{
    int *opened = arg;
    (void)result;
    for (;;) {
        void *letter;
        COIL_TRY(coil_queue_get(letter_box, &letter));
        ++*opened;
    }
}

COIL_TEST_VIRTUAL(first)
{
    static int opened;
    coil_task *opening;
    ck_assert_coil_ok(coil_create_task(coil_coro_of(open_letters, &opened), &opening));
    ck_assert_coil_ok(coil_queue_put(letter_box, "first"));
    ck_assert_coil_ok(coil_sleep(COIL_MS(1)));
    ck_assert_int_eq(opened, 1);
    if (!careless)
        coil_task_cancel(opening, NULL);
    coil_release(opening);
}
END_COIL_TEST

COIL_TEST_VIRTUAL(second)
{
    void *letter;
    ck_assert_coil_ok(coil_queue_put(letter_box, "second"));
    ck_assert_coil_ok(coil_sleep(COIL_MS(1)));
    ck_assert_coil_ok(coil_queue_get_nowait(letter_box, &letter));
    ck_assert_str_eq(letter, "second");
}
END_COIL_TEST

/* Queues belong to the loop on which a task has first waited for them: a new one for each test as well. */
static void make_letter_box(void)
{
    ck_assert_coil_ok(coil_queue_new(0, &letter_box));
}

static void free_letter_box(void)
{
    coil_queue_free(letter_box);
}

static Suite *mail(void)
{
    Suite *suite = suite_create("mail");
    TCase *tests = tcase_create("tests");
    tcase_add_checked_fixture(tests, make_letter_box, free_letter_box);
    tcase_add_test(tests, first);
    tcase_add_test(tests, second);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(int argc, char **argv)
{
    careless = argc > 1 && strcmp(argv[1], "--careless") == 0;
    if (argc > 1 && !careless) {
        fprintf(stderr, "usage: fresh_loop_tests [--careless]\n");
        return 2;
    }
    SRunner *runner = srunner_create(mail());
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
