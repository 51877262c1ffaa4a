/*
 * test_echo_server.c - docs/examples/echo_server.c, run with coil_main(): it serves, and ends in good order
 */
#include "child.h"

int echo_server_main(int argc, char **argv);
#define main echo_server_main
#include "../../docs/examples/echo_server.c"
#undef main

TEST(it_sends_everything_back)
{
    child c = start_child(echo_server_main);
    FILE *clients[8];
    for (size_t i = 0; i < 8; i++)
        clients[i] = dial(c);
    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < 8; i++)
            says(clients[i], "there and back\n");
        for (size_t i = 0; i < 8; i++)
            hears(clients[i], "there and back\n");
    }
    for (size_t i = 0; i < 8; i++)
        fclose(clients[i]);
    ck_assert_int_eq(end_child(c, SIGTERM), 0);
}

TEST(a_signal_ends_it_when_its_clients_are_done)
{
    child c = start_child(echo_server_main);
    FILE *client = dial(c);
    says(client, "before\n");
    hears(client, "before\n");
    wait_until_asleep(c.pid);
    kill(c.pid, SIGINT);
    says(client, "after\n");
    hears(client, "after\n");
    fclose(client);
    int status;
    ck_assert_int_eq(waitpid(c.pid, &status, 0), c.pid);
    ck_assert_int_eq(status, 0);
}

COIL_TEST_MAIN("echo_server")
