/*
 * process_pool.h - process pools inside: calls, workers, and the pool between the submitting threads and its manager
 *
 * Each pool has a thread of its own, the manager, which alone talks to the fork server and the workers, and never
 * blocks on them: a loop's thread that submits holds the mutex for a few steps, and wakes the manager if that sleeps.
 *
 * State table of a call; all steps but the first are the manager's:
 *
 *   QUEUED  -> GIVEN    coil_job_start: there is a worker for it
 *   QUEUED  -> gone     its future was cancelled before that; seen by the manager, or by who needs the room
 *   GIVEN   -> gone     answered, or its worker has ended: coil_job_run reports to the future
 *   GIVEN   -> QUEUED   its worker could not be made, but others are there; it counts as started
 *
 * P1 under the mutex: queue, queued, reserved, tickets, stopping, ended, joined, sleeping; what is below `manager` in
 *    the struct is the manager's own
 * P2 queued + reserved <= jobs_max; room is reserved before a call is queued, so that who has waited for it has it;
 *    but calls that went back from GIVEN count on top
 * P3 refs: the executor's, the manager's, one of each ticket
 * P4 coil_job_run, and what frees a call, run without the mutex: they call the program's functions
 */
#ifndef COIL_IO_PROCESS_POOL_H
#define COIL_IO_PROCESS_POOL_H

#include <pthread.h>

#include "process_pool_wire.h"

#include "../src/base/list.h"
#include "../src/executor.h"

typedef struct coil__process_call {
    coil__node node; /* in the queue */
    coil_job *job;   /* the executor's reference, until coil_job_run */
    void *data;      /* owned */
    size_t n;
    void (*drop)(void *);
    int64_t timeout_ns;
    bool started; /* coil_job_start was called */
    coil_process_result *result; /* what it came to: this or the error */
    coil_error *error;
    char name[COIL_PROCESS_NAME_MAX + 1];
} coil__process_call;

enum coil__worker_state {
    COIL__WORKER_NONE,    /* no process, and no sockets */
    COIL__WORKER_NEW,     /* FORK is still to be sent: `theirs` is open */
    COIL__WORKER_ALIVE,   /* until the server says otherwise */
};

/* One place for a worker, and what goes over its socket. */
typedef struct coil__process_worker {
    enum coil__worker_state state;
    uint32_t number;
    int fd;     /* -1: closed, or no more to be listened to */
    int theirs; /* of COIL__WORKER_NEW */
    bool doomed;  /* it gets no more calls: it is to be killed, or has been */
    bool kill;    /* and the server is still to be told so */
    bool late;    /* the cause: its call's timeout */
    bool damaged; /* the cause: it sent nonsense */
    coil__process_call *call; /* that it runs */
    int64_t deadline; /* of the call; INT64_MAX: none */
    coil__job_header out, in;
    uint64_t sent, got; /* bytes, headers included */
    char *text;         /* the message of an error that is being received */
} coil__process_worker;

typedef struct coil__process_pool {
    coil_executor executor;
    _Atomic uint32_t refs; /* P3 */
    pthread_mutex_t mutex;
    pthread_cond_t over; /* `ended` */
    unsigned workers_max, jobs_max;
    int wake_fd; /* an eventfd */
    coil__list queue, tickets;
    unsigned queued, reserved; /* P2 */
    bool stopping, ended, joined, sleeping;
    pthread_t manager;
    coil__process_worker *workers; /* workers_max of them */
    struct pollfd *polls;          /* one each, the server's and the eventfd's */
    int server_fd;                 /* -1: there is none */
    pid_t server;
    int64_t patience_ns; /* how long processes that were told to end may take */
    int64_t patience;    /* until when; INT64_MAX: they have not been told */
    bool pressed;     /* they were killed once */
    bool no_growth;   /* a worker was refused; the others do its work */
} coil__process_pool;

/* --- process_pool.c ----------------------------------------------------------------------------------------------- */

extern const coil_executor_ops coil__process_pool_ops;

/* coil_process_pool_new() with a choice of patience. */
int coil__process_pool_new(const coil_process_pool_options *options, int64_t patience_ns, coil_executor **executor);

void coil__process_pool_release(coil__process_pool *p);

/* The next call that was not cancelled, started; NULL: there is none. Who waited for room may have it. */
coil__process_call *coil__process_pool_take(coil__process_pool *p);

/* @call has come to what it says; takes. */
void coil__process_call_end(coil__process_call *call);
void coil__process_call_fail(coil__process_call *call, coil_error *error);

/* --- process_pool_manager.c --------------------------------------------------------------------------------------- */

/* The manager's thread, with a reference to the pool. */
void *coil__process_pool_manage(void *pool);

/* --- process_pool_link.c ------------------------------------------------------------------------------------------ */

/* A worker gets a call; sends a part of it; whether there is more. */
void coil__worker_give(coil__process_worker *w, coil__process_call *call);
void coil__worker_send(coil__process_worker *w);
bool coil__worker_sending(const coil__process_worker *w);

enum coil__worker_news { COIL__WORKER_WAIT, COIL__WORKER_ANSWERED, COIL__WORKER_CLOSED, COIL__WORKER_NONSENSE };

/* Takes what has come from a worker, a part of it at a time. ANSWERED: its call has its result, or error. */
enum coil__worker_news coil__worker_receive(coil__process_worker *w);

/* What has come of an answer that will not be completed. */
void coil__worker_forget(coil__process_worker *w);

#endif
