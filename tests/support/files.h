/*
 * files.h - what tests of files have in common
 *
 * Every test works in a directory of its own, which it removes, and ends with as many open descriptors as it began
 * with.
 */
#ifndef COIL_TEST_FILES_H
#define COIL_TEST_FILES_H

#include "net.h"

#include <stdlib.h>

static char directory[] = "/tmp/coil-file-XXXXXX";
static char path[64];

static void make_directory(void)
{
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
}

static void remove_directory(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(directory), 0);
}

/* A first file makes what stays open: the loop's threads, a ring. */
#define FILE_TEST(name)                               \
    static void name##_in_directory(void);            \
    NET_TEST(name)                                    \
    {                                                 \
        make_directory();                             \
        name##_in_directory();                        \
        remove_directory();                           \
    }                                                 \
    static void name##_in_directory(void)

static COIL_TEST_UNUSED coil_file *opened(int flags)
{
    coil_file *file;
    OK(coil_file_open(path, flags, 0600, &file));
    return file;
}

static COIL_TEST_UNUSED void file_is(const char *text)
{
    char *data;
    size_t n;
    OK(coil_read_file(path, &data, &n));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_str_eq(data, text);
    free(data);
}

#endif
