/*
 * shared_loop_tests.c - two tests of a mail box on one loop: the second passes alone, and fails after the first
 *
 * The first leaves a task behind, which lives on in the loop and takes the second one's letter. fresh_loop_tests.c is
 * the cure. Check is told not to fork: with a process for each test nothing would be left behind, and a loop that has
 * run cannot be used in a child process.
 * Run one alone with CK_RUN_CASE=second.
 * asyncio: tests that share asyncio.get_event_loop()
 */
#include <check.h>
#include <coil.h>
#include <stdlib.h>

static coil_loop *loop;        /* of all tests */
static coil_queue *letter_box; /* the program's, global as such things are */

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

static int post_one(void *arg, void **result)
{
    static int opened;
    (void)arg;
    (void)result;
    COIL_TRY(coil_create_task(coil_coro_of(open_letters, &opened), NULL)); /* and who cancels it? */
    COIL_TRY(coil_queue_put(letter_box, "first"));
    COIL_TRY(coil_sleep(COIL_MS(1)));
    return opened == 1 ? 0 : coil_raise(COIL_ERUNTIME, "%d letters were opened", opened);
}

START_TEST(first)
{
    ck_assert_int_eq(coil_loop_run_until_complete(loop, coil_coro_of(post_one, NULL), NULL), 0);
}
END_TEST

static int post_and_fetch(void *arg, void **result)
{
    (void)arg;
    COIL_TRY(coil_queue_put(letter_box, "second"));
    COIL_TRY(coil_sleep(COIL_MS(1)));
    return coil_queue_get_nowait(letter_box, result);
}

START_TEST(second)
{
    void *letter;
    int rc = coil_loop_run_until_complete(loop, coil_coro_of(post_and_fetch, NULL), &letter);
    ck_assert_msg(rc == 0, "the letter is not there: %s", coil_error_name(rc));
    ck_assert_str_eq(letter, "second");
}
END_TEST

static Suite *mail(void)
{
    Suite *suite = suite_create("mail");
    TCase *one = tcase_create("first"), *two = tcase_create("second");
    tcase_add_test(one, first);
    tcase_add_test(two, second);
    suite_add_tcase(suite, one);
    suite_add_tcase(suite, two);
    return suite;
}

int main(void)
{
    if (coil_new_event_loop(NULL, &loop) < 0 || coil_queue_new(0, &letter_box) < 0)
        return EXIT_FAILURE;
    SRunner *runner = srunner_create(mail());
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    coil_loop_free(loop); /* says what is left in it */
    coil_queue_free(letter_box);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
