/*
 * coil/process.h - subprocesses: other programs with pipes to them
 *
 *     coil_process *process;
 *     COIL_TRY(coil_create_subprocess_exec(&(coil_process_options){
 *         .size = sizeof(coil_process_options), .argv = (const char *[]){"sort", "-n", NULL},
 *         .stdin_to = COIL_SUBPROCESS_PIPE, .stdout_to = COIL_SUBPROCESS_PIPE}, &process));
 *     coil_process_data out;
 *     int rc = coil_process_communicate(process, "2\n1\n", 4, &out, NULL);
 *     ...
 *     free(out.data);
 *     coil_process_free(process);
 *
 * The end of a process is seen through a pidfd, without a SIGCHLD handler; nothing waits for processes that are not
 * coil's. Needs Linux 5.4. For coil's own work in other processes see coil/process_pool.h. Source:
 * asyncio.subprocess.
 */
#ifndef COIL_PROCESS_H
#define COIL_PROCESS_H

#include <coil/stream.h>
COIL_BEGIN

typedef struct coil_process coil_process;

/*
 * What a standard descriptor of a process is connected to; a number above 0 is a descriptor of this process, which stays
 * open here: of a pipe, close it after the call, or its reader sees no end. So a pipe is read with a protocol: pipe2(), its
 * second descriptor for stdout_to, its first for coil_create_read_pipe_transport().
 */
enum coil_subprocess_stdio {
    COIL_SUBPROCESS_INHERIT = 0,
    COIL_SUBPROCESS_PIPE = -1,
    COIL_SUBPROCESS_STDOUT = -2, /* stderr only: where stdout goes */
    COIL_SUBPROCESS_DEVNULL = -3,
};

/* Borrowed for the call, with all that it points to. What is zero has Python's default. */
typedef struct coil_process_options {
    size_t size;             /* sizeof(coil_process_options) */
    const char *const *argv; /* the program and its arguments, NULL at the end; a shell's begin with the command */
    const char *program;     /* to execute instead of argv[0] */
    const char *const *env;  /* "NAME=value", NULL at the end; NULL: this process's */
    const char *cwd;         /* directory to run in */
    int stdin_to, stdout_to, stderr_to; /* enum coil_subprocess_stdio, or a descriptor */
    size_t limit_bytes;                 /* of the readers; 0: COIL_STREAM_LIMIT */
    const int *pass_fds;                /* descriptors from 3 on that it gets, too */
    size_t pass_fd_count;
    bool keep_fds;          /* it gets all that are not closed by exec (close_fds=False) */
    bool keep_signals;      /* ... the signal mask, and SIGPIPE and SIGXFSZ as they are (restore_signals=False) */
    bool start_new_session; /* setsid() */
    pid_t process_group;    /* that it joins; -1: one of its own; 0: this process's */
    const uid_t *user;      /* that it runs as */
    const gid_t *group;
    const gid_t *extra_groups; /* instead of this process's */
    size_t extra_group_count;
    const mode_t *umask;
} coil_process_options;

/**
 * coil_create_subprocess_exec - start a program
 * @process: gives; coil_process_free() it
 *
 * A program without a slash is looked for in $PATH, that of options->env if there is one. It starts with all signals
 * as by default but those that are ignored, and none blocked. The thread waits until the program has been executed,
 * as asyncio's does, a millisecond or so; how much memory this process has does not matter (it does with `user`,
 * `group` or `extra_groups`: then its page tables are copied).
 *
 * Errors: what execve() has refused (-ENOENT, -EACCES, ...), chdir() of `cwd`, or another of the options: the message
 * says which; -EINVAL for options that make no sense; -EAGAIN, -EMFILE, -ENOMEM; -ENOSYS before Linux 5.4.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_create_subprocess_exec(const coil_process_options *options, coil_process **process);

/** coil_create_subprocess_shell - start /bin/sh (or options->program) -c argv[0]; further words are its $0, $1, ... */
COIL_IN_TASK COIL_SUSPENDS int coil_create_subprocess_shell(const coil_process_options *options,
                                                            coil_process **process);

/**
 * coil_process_free - close its pipes and forget it; NULL is allowed; nobody may be waiting (asserted)
 *
 * A process that still runs goes on. When it has ended the loop takes it away, so that it does not stay as a zombie.
 * What is left when the loop is closed is taken away when it has ended and another process is started, or the next
 * loop is closed.
 */
COIL_ON_LOOP void coil_process_free(coil_process *process);

/* Where they were COIL_SUBPROCESS_PIPE, else NULL. Borrowed: may be closed, not freed. */
COIL_ON_LOOP coil_stream *coil_process_stdin(const coil_process *process);  /* for writing */
COIL_ON_LOOP coil_stream *coil_process_stdout(const coil_process *process); /* for reading */
COIL_ON_LOOP coil_stream *coil_process_stderr(const coil_process *process);
COIL_ON_LOOP pid_t coil_process_pid(const coil_process *process);

/**
 * coil_process_returncode - how it has ended, as far as the loop has heard
 * @returncode: its exit status, or minus the signal that killed it; untouched while it runs
 *
 * False while it runs. 255 if somebody else has waited for it, or the program ignores SIGCHLD; the loop's exception
 * handler is told "Unknown child process".
 */
COIL_ON_LOOP bool coil_process_returncode(const coil_process *process, int *returncode);

/**
 * coil_process_wait - wait until it has ended; any number of tasks may
 * @returncode: as above; may be NULL
 *
 * A process that fills a pipe which nobody reads does not end: see coil_process_communicate(). Does not wait until
 * the pipes have been closed by whoever has inherited them. Errors: -ECANCELED (the process goes on);
 * COIL_ELOOPCLOSED.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_process_wait(coil_process *process, int *returncode);

/* A part of a process's output: n bytes and a zero behind them; free() data. NULL where there was no pipe. */
typedef struct coil_process_data {
    char *data;
    size_t n;
} coil_process_data;

/**
 * coil_process_communicate - write @input to its stdin and close that; read all it writes; wait until it has ended
 * @input: borrows for the call; NULL: its stdin is left alone
 * @n:     bytes
 * @out:   gives what came from its stdout; NULL: not wanted
 * @err:   the same of stderr
 *
 * A process that does not read all of its input is none of its worries (-EPIPE, -ECONNRESET). Cancelling it (or a
 * timeout) loses nothing: the process goes on, and another call, with NULL for @input, goes on where this one has
 * stopped. Where the call is a task's last, and another worker cancels it at that moment, the task ends cancelled, and @out
 * has been set all the same: begin with {0}, and look there before calling again.
 *
 * Errors: -ECANCELED; -EINVAL: input, but its stdin is no pipe, or there was input already; COIL_EBUSY if another
 * task reads; -ENOMEM (nothing is lost either).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_process_communicate(coil_process *process, const void *input, size_t n,
                                                        coil_process_data *out, coil_process_data *err);

/**
 * coil_process_send_signal - never hits another process, even if the pid is another's by now
 *
 * Errors: -ESRCH when it has ended, and the loop has heard of it (ProcessLookupError); -EINVAL; -EPERM.
 */
COIL_ON_LOOP int coil_process_send_signal(coil_process *process, int signal);
COIL_ON_LOOP int coil_process_terminate(coil_process *process); /* SIGTERM */
COIL_ON_LOOP int coil_process_kill(coil_process *process);      /* SIGKILL */

COIL_END
#endif
