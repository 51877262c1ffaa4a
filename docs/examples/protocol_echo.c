/*
 * protocol_echo.c - a server and a client of protocols: functions that are called, in place of tasks that wait
 *
 * asyncio: the TCP echo server and client of its chapter on transports and protocols; loop.create_server(),
 * loop.create_connection()
 */
#include <coil.h>
#include <stdio.h>
#include <string.h>

/* --- the server ----------------------------------------------------------------------------------------------- */

static int server_connection_made(coil_transport *transport, void *arg)
{
    (void)transport;
    (void)arg;
    return 0;
}

static int server_data_received(coil_transport *transport, const void *data, size_t n, void *arg)
{
    (void)arg;
    printf("server: data received: %.*s\n", (int)n, (const char *)data);
    COIL_TRY(coil_transport_write(transport, data, n));
    printf("server: close the client socket\n");
    coil_transport_close(transport); /* when all is sent */
    return 0;
}

static const coil_protocol server_protocol = {
    .connection_made = server_connection_made,
    .data_received = server_data_received,
};

/* For each connection. One that has something to remember gives an object of its own as *arg, and frees it in connection_lost. */
static int make_server_protocol(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    (void)factory_arg;
    *protocol = &server_protocol;
    *arg = NULL;
    return 0;
}

/* --- the client ----------------------------------------------------------------------------------------------- */

typedef struct client {
    const char *message;
    coil_event *connection_lost;
} client;

static int client_connection_made(coil_transport *transport, void *arg)
{
    client *c = arg;
    printf("client: data sent: %s\n", c->message);
    return coil_transport_write(transport, c->message, strlen(c->message));
}

static int client_data_received(coil_transport *transport, const void *data, size_t n, void *arg)
{
    (void)transport;
    (void)arg;
    printf("client: data received: %.*s\n", (int)n, (const char *)data);
    return 0;
}

static void client_connection_lost(coil_transport *transport, coil_error *error, void *arg)
{
    (void)transport;
    printf("client: the server closed the connection%s\n", error ? ", or so it seems" : "");
    coil_event_set(((client *)arg)->connection_lost);
}

static const coil_protocol client_protocol = {
    .connection_made = client_connection_made,
    .data_received = client_data_received,
    .connection_lost = client_connection_lost,
};

/* --- both ----------------------------------------------------------------------------------------------------- */

static int talk(client *c, const char *port)
{
    coil_transport *transport;
    COIL_TRY(coil_create_connection(&client_protocol, c, "127.0.0.1", port, NULL, &transport));
    int rc = coil_event_wait(c->connection_lost);
    coil_transport_free(transport);
    return rc;
}

static int serve_one(client *c)
{
    coil_server *server;
    char port[16];
    COIL_TRY(coil_create_server(make_server_protocol, NULL, "127.0.0.1", "0", NULL, &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    int rc = talk(c, port);
    coil_server_free(server);
    return rc;
}

static int async_main(void *arg, void **result)
{
    client c = {.message = "Hello World!"};
    (void)arg;
    (void)result;
    COIL_TRY(coil_event_new(&c.connection_lost));
    int rc = serve_one(&c);
    coil_event_free(c.connection_lost);
    return rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
