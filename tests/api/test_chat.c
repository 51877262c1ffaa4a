/*
 * test_chat.c - docs/examples/chat_server.c, run with coil_main(), with real clients
 */
#include "child.h"

int chat_server_main(int argc, char **argv);
#define main chat_server_main
#include "../../docs/examples/chat_server.c"
#undef main

static FILE *join_as(child c, const char *name)
{
    FILE *client = dial(c);
    hears(client, "* your name?\n");
    says(client, name);
    return client;
}

TEST(what_one_client_says_reaches_the_other)
{
    child c = start_child(chat_server_main);
    FILE *ann = join_as(c, "ann\n");
    says(ann, "/who\n");
    hears(ann, "* ann is here\n");
    FILE *bob = join_as(c, "bob\r\n");
    hears(ann, "* bob has joined\n");
    says(ann, "hello\n");
    hears(bob, "ann: hello\n");
    says(bob, "hello yourself\n");
    hears(ann, "bob: hello yourself\n");
    says(bob, "/quit\n");
    hears_the_end(bob);
    hears(ann, "* bob has left\n");
    fclose(ann);
    ck_assert_int_eq(end_child(c, SIGTERM), -SIGTERM);
}

TEST(names_can_be_changed_but_not_taken_twice)
{
    child c = start_child(chat_server_main);
    FILE *ann = join_as(c, "ann\n");
    says(ann, "/who\n");
    hears(ann, "* ann is here\n");
    FILE *bob = join_as(c, "ann\n");
    hears(bob, "* that name cannot be had\n");
    hears(bob, "* your name?\n");
    says(bob, "bob\n");
    hears(ann, "* bob has joined\n");
    says(bob, "/nick ann\n");
    hears(bob, "* that name cannot be had\n");
    says(bob, "/nick robert\n");
    hears(bob, "* bob is now called robert\n");
    hears(ann, "* bob is now called robert\n");
    fclose(bob);
    hears(ann, "* robert has left\n");
    fclose(ann);
    ck_assert_int_eq(end_child(c, SIGTERM), -SIGTERM);
}

TEST(a_client_that_never_reads_holds_nobody_up)
{
    child c = start_child(chat_server_main);
    FILE *deaf = join_as(c, "deaf\n");
    says(deaf, "/who\n");
    hears(deaf, "* deaf is here\n");
    FILE *ann = join_as(c, "ann\n"), *bob = join_as(c, "bob\n");
    hears(ann, "* bob has joined\n");
    char text[1001];
    memset(text, 'x', sizeof text - 2);
    text[999] = '\n';
    text[1000] = '\0';
    for (int i = 0; i < 10000; i++) {
        char line[2000];
        says(ann, text);
        ck_assert_ptr_nonnull(fgets(line, sizeof line, bob));
        if (line[0] == '*') {
            ck_assert_str_eq(line, "* deaf has left\n");
            break;
        }
        ck_assert_int_lt(i, 9999);
    }
    fclose(deaf);
    fclose(ann);
    fclose(bob);
    ck_assert_int_eq(end_child(c, SIGTERM), -SIGTERM);
}

COIL_TEST_MAIN("chat")
