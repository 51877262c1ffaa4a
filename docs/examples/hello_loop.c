/*
 * hello_loop.c - hello world on a loop made by hand, and a result
 *
 * asyncio: loop.run_until_complete(hello('world'))
 */
#include <coil.h>
#include <stdio.h>

static int hello(void *arg, void **result)
{
    printf("hello %s\n", (const char *)arg);
    COIL_TRY(coil_sleep(COIL_MS(100)));
    *result = "goodbye";
    return 0;
}

static void print_error(coil_error *e)
{
    char text[256];
    coil_error_format(e, text, sizeof text);
    fprintf(stderr, "failed: %s\n", text);
    coil_error_release(e);
}

int main(void)
{
    coil_loop *loop;
    if (coil_new_event_loop(NULL, &loop) < 0)
        return 1;

    void *word;
    int rc = coil_loop_run_until_complete(loop, coil_coro_of(hello, "world"), &word);
    if (rc == 0)
        printf("%s\n", (const char *)word);
    else
        print_error(coil_catch(rc));

    coil_loop_close(loop);
    coil_loop_free(loop);
    return rc < 0;
}
