/*
 * terminal.c - terminals that give single keystrokes, and their way back
 *
 * Called from any thread, under `mutex`; but for coil__terminal_rescue(), a signal handler, which looks at the table
 * without:
 *
 * I1 an entry is complete before its `used` is set, and unchanged until it was cleared; entries are used from the
 *    first on, so that a later one of the same terminal has the higher index
 * I2 the handlers are installed while an entry is used
 *
 * Source: module tty of CPython 3.11, termios(3), signal-safety(7): tcsetattr() is among the safe ones.
 */
#define _GNU_SOURCE /* cfmakeraw */
#include "terminal.h"

#include <coil/errno.h>
#include <coil/pipe.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "disposition.h"

#include "../src/base/atomic.h"

struct coil_terminal {
    int fd;               /* a duplicate; owned */
    struct termios modes; /* before */
    _Atomic bool used;    /* I1 */
};

static struct coil_terminal table[COIL_TERMINALS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool at_exit;

static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT};
enum { DEADLY = sizeof deadly / sizeof *deadly };

/* Also from the background, where SIGTTOU would stop the process. */
static int set_modes(int fd, int when, const struct termios *modes)
{
    sigset_t ttou, before;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &before);
    int rc = tcsetattr(fd, when, modes) < 0 ? -errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void rescue_all(void)
{
    for (size_t i = COIL_TERMINALS_MAX; i-- > 0;)
        if (load_acquire(&table[i].used)) /* [TERM-1] acquire: the entry; I1 */
            (void)set_modes(table[i].fd, TCSANOW, &table[i].modes);
}

void coil__terminal_rescue(int number)
{
    int saved = errno;
    rescue_all();
    (void)raise(number); /* SA_RESETHAND: it does its work when this handler returns */
    errno = saved;
}

static void install(void)
{
    struct sigaction action = {.sa_handler = coil__terminal_rescue, .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < DEADLY; i++)
        if (coil__signal_does(deadly[i], SIG_DFL))
            (void)sigaction(deadly[i], &action, NULL);
    if (!at_exit)
        at_exit = atexit(rescue_all) == 0;
}

static void uninstall(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < DEADLY; i++)
        if (coil__signal_does(deadly[i], coil__terminal_rescue))
            (void)sigaction(deadly[i], &action, NULL);
}

/* How many entries there are up to the last one that is used. */
static size_t height(void)
{
    size_t n = COIL_TERMINALS_MAX;
    while (n > 0 && !load_acquire(&table[n - 1].used)) /* [TERM-1] under the mutex */
        n--;
    return n;
}

static int save(int fd, coil_terminal **terminal)
{
    size_t i = height();
    if (i == COIL_TERMINALS_MAX)
        return -EMFILE;
    coil_terminal *t = &table[i];
    if (tcgetattr(fd, &t->modes) < 0)
        return -errno;
    t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (t->fd < 0)
        return -errno;
    store_release(&t->used, true); /* [TERM-1] release: the entry; I1 */
    install();
    *terminal = t;
    return 0;
}

static void drop(coil_terminal *t)
{
    store_release(&t->used, false); /* [TERM-1] */
    close(t->fd);
    if (height() == 0)
        uninstall(); /* I2 */
}

static int change(int fd, void (*make)(struct termios *), coil_terminal **saved)
{
    pthread_mutex_lock(&mutex);
    coil_terminal *t = NULL;
    int rc = save(fd, &t);
    if (rc == 0) {
        struct termios modes = t->modes;
        make(&modes);
        rc = set_modes(fd, TCSADRAIN, &modes);
        if (rc < 0)
            drop(t);
    }
    pthread_mutex_unlock(&mutex);
    if (rc < 0)
        return coil_raise(rc, "descriptor %d: %s", fd, coil_strerror(rc));
    *saved = t;
    return 0;
}

static void make_cbreak(struct termios *modes)
{
    modes->c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    modes->c_cc[VMIN] = 1;
    modes->c_cc[VTIME] = 0;
}

static void make_raw(struct termios *modes)
{
    cfmakeraw(modes);
    modes->c_cc[VMIN] = 1;
    modes->c_cc[VTIME] = 0;
}

int coil_terminal_cbreak(int fd, coil_terminal **saved)
{
    return change(fd, make_cbreak, saved);
}

int coil_terminal_raw(int fd, coil_terminal **saved)
{
    return change(fd, make_raw, saved);
}

void coil_terminal_restore(coil_terminal *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&mutex);
    (void)set_modes(t->fd, TCSADRAIN, &t->modes); /* fails if the terminal is gone */
    drop(t);
    pthread_mutex_unlock(&mutex);
}
