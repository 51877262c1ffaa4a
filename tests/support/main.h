/*
 * main.h - the main() of a suite for Check
 *
 * The macros of coil_test.h put the tests of a file on a list before main runs; COIL_TEST_MAIN("topic") at the
 * end of the file makes a suite of them. $CK_FORK=no runs them in this process, $CK_RUN_CASE is the topic.
 */
#ifndef COIL_TEST_MAIN_H
#define COIL_TEST_MAIN_H

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct coil_test_entry {
    const TTest *test;
    int signal; /* that ends it; 0: none */
    struct coil_test_entry *next;
} coil_test_entry;

static coil_test_entry *coil_test_entries;

#define COIL_TEST_REGISTER(name, ended_by)                                        \
    __attribute__((constructor)) static void name##_register(void)                \
    {                                                                             \
        static coil_test_entry entry;                                             \
        coil_test_entry **last = &coil_test_entries;                              \
        while (*last)                                                             \
            last = &(*last)->next;                                                \
        entry.test = name;                                                        \
        entry.signal = ended_by;                                                  \
        *last = &entry;                                                           \
    }

static inline void coil_test_add(TCase *tcase, const coil_test_entry *entry, bool forks)
{
    if (entry->signal == 0)
        tcase_add_test(tcase, entry->test);
    else if (forks) /* it would end the suite */
        tcase_add_test_raise_signal(tcase, entry->test, entry->signal);
}

static inline int coil_test_main(const char *topic)
{
    Suite *suite = suite_create(topic);
    TCase *tcase = tcase_create(topic);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    bool forks = srunner_fork_status(runner) == CK_FORK;
    for (const coil_test_entry *entry = coil_test_entries; entry; entry = entry->next)
        coil_test_add(tcase, entry, forks);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define COIL_TEST_MAIN(topic)           \
    int main(void)                      \
    {                                   \
        return coil_test_main(topic);   \
    }

#endif
