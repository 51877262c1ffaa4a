/*
 * recorder.h - a protocol whose functions note as a word what they are told, and do what the test has asked for
 */
#ifndef COIL_TEST_RECORDER_H
#define COIL_TEST_RECORDER_H

#include "net.h"

typedef struct recorder {
    coil_transport *transport; /* of connection_made */
    coil_event *lost;
    char data[256];
    size_t size;
    int fails_with;       /* data_received */
    bool keeps_open;      /* eof_received */
    bool closes_at_data, aborts_at_data, pauses_at_data, frees_at_data;
    char buffer[16];      /* get_buffer */
    int code;             /* of connection_lost */
} recorder;

static int connection_made(coil_transport *t, void *arg)
{
    ((recorder *)arg)->transport = t;
    note("made");
    return 0;
}

static int data_received(coil_transport *t, const void *data, size_t n, void *arg)
{
    recorder *r = arg;
    note("data:%.*s", (int)(n < 20 ? n : 20), (const char *)data);
    if (r->size + n <= sizeof r->data)
        memcpy(r->data + r->size, data, n);
    r->size += n;
    if (r->pauses_at_data)
        coil_transport_pause_reading(t);
    if (r->closes_at_data)
        coil_transport_close(t);
    if (r->aborts_at_data)
        coil_transport_abort(t);
    if (r->frees_at_data)
        coil_transport_free(t);
    return r->fails_with ? coil_raise(r->fails_with, "no more of this") : 0;
}

static bool eof_received(coil_transport *t, void *arg)
{
    (void)t;
    note("eof");
    return ((recorder *)arg)->keeps_open;
}

static void pause_writing(coil_transport *t, void *arg)
{
    (void)t;
    (void)arg;
    note("pause");
}

static void resume_writing(coil_transport *t, void *arg)
{
    (void)t;
    (void)arg;
    note("resume");
}

static void connection_lost(coil_transport *t, coil_error *error, void *arg)
{
    recorder *r = arg;
    (void)t;
    r->code = error ? coil_error_code(error) : 0;
    note("lost");
    if (r->lost)
        coil_event_set(r->lost);
}

static COIL_TEST_UNUSED void until_lost(recorder *r)
{
    OK(coil_event_wait(r->lost));
    coil_event_free(r->lost);
}

static COIL_TEST_UNUSED void until_size(const recorder *r, size_t size)
{
    while (r->size < size)
        OK(coil_sleep(COIL_MS(1)));
}

#endif
