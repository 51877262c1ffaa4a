/*
 * pool.c - sessions, and the connections they keep; in tasks, on any worker
 *
 * The lock is held for short stretches, never over a suspension, nor while a stream is freed.
 *
 * I1 the janitor exists while there are idle connections, and holds a reference to the session, which cancels it at its end;
 *    session->janitor_task is set, under the lock, while that may be done
 */
#include "client.h"

#include <limits.h>
#include <stdio.h>

#include "text.h"

#define HEAD_BYTES_MAX ((size_t)64 * 1024) /* http-parser ends at 80 KiB */

/* --- sessions ------------------------------------------------------------------------------------------- */

static void free_hosts(coil_http_session *s)
{
    for (coil__http_host *h = s->hosts, *next; h; h = next) {
        next = h->next;
        if (h->slots)
            coil_semaphore_free(h->slots);
        free(h);
    }
}

/* [HTTP-4] acq_rel: whoever takes the last reference sees what the others did. Pairs with itself. */
static void release(coil_http_session *s)
{
    if (fetch_sub_acq_rel(&s->refs, 1) != 1) /* [HTTP-4] */
        return;
    free_hosts(s);
    pthread_mutex_destroy(&s->lock);
    free(s->user_agent);
    free(s);
}

static int check(const coil_http_session_options *o)
{
    if (o->header_bytes_max > HEAD_BYTES_MAX || o->headers_max > HEAD_BYTES_MAX)
        return coil_raise(-EINVAL, "header_bytes_max and headers_max can be at most %zu", HEAD_BYTES_MAX);
    if (o->idle_timeout_ns < 0 || o->total_timeout_ns < 0 || o->connect_timeout_ns < 0 || o->read_timeout_ns < 0)
        return coil_raise(-EINVAL, "a timeout cannot be negative");
    if (o->connections_max > LONG_MAX)
        return coil_raise(-EINVAL, "connections_max is too large");
    if (o->user_agent && !coil__http_is_value(o->user_agent, strlen(o->user_agent)))
        return coil_raise(-EINVAL, "user_agent cannot be the value of a field");
    return 0;
}

static int64_t timeout_or(int64_t timeout_ns, int64_t default_ns)
{
    return timeout_ns ? timeout_ns : default_ns;
}

static void fill_in(coil_http_session_options *o)
{
    o->idle_max = o->idle_max ? o->idle_max : 8;
    o->idle_timeout_ns = timeout_or(o->idle_timeout_ns, COIL_SECONDS(15));
    o->total_timeout_ns = timeout_or(o->total_timeout_ns, COIL_SECONDS(300));
    o->connect_timeout_ns = timeout_or(o->connect_timeout_ns, COIL_SECONDS(30));
    o->read_timeout_ns = timeout_or(o->read_timeout_ns, COIL_SECONDS(60));
    o->header_bytes_max = o->header_bytes_max ? o->header_bytes_max : 32 * 1024;
    o->headers_max = o->headers_max ? o->headers_max : 100;
    o->body_bytes_max = o->body_bytes_max ? o->body_bytes_max : COIL_HTTP_UNLIMITED;
}

static char *copy_user_agent(const char *given)
{
    char text[32];
    snprintf(text, sizeof text, "coil/%d.%d.%d", COIL_VERSION_MAJOR, COIL_VERSION_MINOR, COIL_VERSION_PATCH);
    return strdup(given ? given : text);
}

int coil_http_session_new(const coil_http_session_options *options, coil_http_session **session)
{
    coil_http_session_options o = {.size = sizeof o};
    if (options && options->size != sizeof o)
        return coil_raise(-EINVAL, "coil_http_session_options.size is %zu, not %zu", options->size, sizeof o);
    if (options)
        o = *options;
    COIL_TRY(check(&o));
    fill_in(&o);
    coil_http_session *s = calloc(1, sizeof *s);
    if (s)
        s->user_agent = copy_user_agent(o.user_agent);
    if (!s || !s->user_agent) {
        free(s);
        return coil_raise(-ENOMEM, NULL);
    }
    s->options = o;
    pthread_mutex_init(&s->lock, NULL);
    store_relaxed(&s->refs, 1); /* [HTTP-4] relaxed: not shared yet */
    *session = s;
    return 0;
}

/* --- connections ---------------------------------------------------------------------------------------- */

static void free_reply(coil_http_reply *r)
{
    coil_stream_free(r->stream);
    coil__http_head_fini(&r->head);
    coil__http_input_fini(&r->input);
    coil__http_buffer_fini(&r->out);
    coil__http_buffer_fini(&r->canned);
    coil__http_url_fini(&r->url);
    free(r);
}

static void free_all(coil__list *list)
{
    while (!coil__list_empty(list)) {
        coil__node *n = coil__list_first(list);
        coil__node_unlink(n);
        free_reply(coil_container_of(n, coil_http_reply, node));
    }
}

/* Also: nothing has come since. What came would be taken for the reply to the next request. */
static bool is_alive(const coil_http_reply *r, int64_t now)
{
    return now - r->idle_since < r->session->options.idle_timeout_ns && !coil_stream_at_eof(r->stream) &&
           !coil_stream_is_closing(r->stream) && coil_stream_read_buffer_size(r->stream) == 0;
}

/* Under the lock: the idle connection @n goes to @list. */
static void move(coil_http_session *s, coil__http_host *h, coil__node *n, coil__list *list)
{
    coil__node_unlink(n);
    coil__list_append(list, n);
    h->idle_count--;
    s->idle_count--;
}

/* --- the janitor ---------------------------------------------------------------------------------------- */

/* Closes what is dead or has been idle for too long, or everything; whether any is left. */
static bool clean(coil_http_session *s, int64_t now, bool everything)
{
    coil__list dead;
    coil__list_init(&dead);
    pthread_mutex_lock(&s->lock);
    for (coil__http_host *h = s->hosts; h; h = h->next)
        for (coil__node *n = coil__list_first(&h->idle), *next; n != &h->idle.head; n = next) {
            next = n->next;
            if (everything || !is_alive(coil_container_of(n, coil_http_reply, node), now))
                move(s, h, n, &dead);
        }
    bool any = s->idle_count > 0;
    pthread_mutex_unlock(&s->lock);
    free_all(&dead);
    return any;
}

/* The janitor's first step. It stays for a period at least: the connection may be in use again just now. */
static bool begins(coil_http_session *s)
{
    pthread_mutex_lock(&s->lock);
    s->janitor = !s->closed;
    s->janitor_task = s->closed ? NULL : coil_current_task(); /* I1 */
    bool begin = s->janitor;
    pthread_mutex_unlock(&s->lock);
    return begin;
}

/* Whether the janitor goes on; if not, the next idle connection starts another one. */
static bool stays(coil_http_session *s, bool over)
{
    pthread_mutex_lock(&s->lock);
    bool stay = !over && !s->closed && s->idle_count > 0;
    s->janitor = stay;
    s->janitor_task = stay ? coil_current_task() : NULL; /* I1 */
    pthread_mutex_unlock(&s->lock);
    return stay;
}

static int janitor(void *arg, void **result)
{
    coil_http_session *s = arg;
    coil_loop *loop = coil_get_running_loop();
    int64_t period = s->options.idle_timeout_ns / 2;
    int rc = 0;
    (void)result;
    if (begins(s))
        do {
            rc = coil_sleep(period < COIL_SECONDS(60) ? period : COIL_SECONDS(60));
            if (rc == 0)
                clean(s, coil_loop_time(loop), false);
        } while (stays(s, rc < 0));
    release(s); /* I1 */
    return rc;
}

static void drop_janitor(void *arg)
{
    stays(arg, true);
    release(arg);
}

/* False without memory for it, or outside a loop: then nothing may stay idle. */
static bool start_janitor(coil_http_session *s)
{
    fetch_add_relaxed(&s->refs, 1); /* [HTTP-4] relaxed: the caller has one */
    int rc = coil_create_task(coil_coro_owning(janitor, s, drop_janitor), NULL);
    coil_error_release(coil_catch(rc));
    return rc == 0;
}

/* --- giving back ---------------------------------------------------------------------------------------- */

/* The connection has no user any more; whether it is idle now. */
static bool put_down(coil_http_reply *r, bool good, bool *start)
{
    coil_http_session *s = r->session;
    coil__http_host *h = r->host;
    *start = false;
    pthread_mutex_lock(&s->lock);
    h->users--;
    if (good && !s->closed && h->idle_count < s->options.idle_max) {
        coil__list_append(&h->idle, &r->node);
        h->idle_count++;
        s->idle_count++;
        *start = !s->janitor;
        s->janitor = true;
    } else {
        good = false;
    }
    pthread_mutex_unlock(&s->lock);
    return good;
}

void coil__http_pool_give(coil_http_reply *r, bool good)
{
    coil_http_session *s = r->session;
    coil_semaphore *slots = r->has_slot ? r->host->slots : NULL;
    bool start;
    coil__http_url_fini(&r->url);
    r->has_slot = false;
    r->reused = true;
    r->idle_since = coil_loop_time(r->loop);
    if (!put_down(r, good && r->stream, &start))
        free_reply(r);
    else if (start && !start_janitor(s))
        clean(s, 0, true);
    if (slots)
        (void)coil_semaphore_release(slots); /* fails for bounded ones only */
}

/* --- taking --------------------------------------------------------------------------------------------- */

static coil__http_host *new_host(const coil_http_session *s, const char *origin)
{
    size_t n = strlen(origin) + 1;
    coil__http_host *h = calloc(1, sizeof *h + n);
    if (!h)
        return NULL;
    if (s->options.connections_max > 0 && coil_semaphore_new((long)s->options.connections_max, &h->slots) < 0) {
        free(h);
        return NULL;
    }
    coil__list_init(&h->idle);
    memcpy(h->origin, origin, n);
    return h;
}

/* With one more user; NULL without memory. */
static coil__http_host *host_of(coil_http_session *s, const char *origin)
{
    pthread_mutex_lock(&s->lock);
    coil__http_host *h = s->hosts;
    while (h && strcmp(h->origin, origin) != 0)
        h = h->next;
    if (!h && (h = new_host(s, origin)) != NULL) {
        h->next = s->hosts;
        s->hosts = h;
    }
    if (h)
        h->users++;
    pthread_mutex_unlock(&s->lock);
    return h;
}

static void leave_host(coil_http_session *s, coil__http_host *h)
{
    pthread_mutex_lock(&s->lock);
    h->users--;
    pthread_mutex_unlock(&s->lock);
}

/* The idle connection used last, if one is alive. */
static coil_http_reply *take_idle(coil_http_session *s, coil__http_host *h, int64_t now)
{
    coil_http_reply *r = NULL;
    coil__list dead;
    coil__list_init(&dead);
    pthread_mutex_lock(&s->lock);
    while (!r && !coil__list_empty(&h->idle)) {
        coil__node *n = coil__list_last(&h->idle);
        move(s, h, n, &dead);
        r = coil_container_of(n, coil_http_reply, node);
        if (is_alive(r, now))
            coil__node_unlink(n);
        else
            r = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    free_all(&dead);
    return r;
}

struct connecting {
    const coil__http_url *url;
    coil_stream **stream;
};

static int connect_stream(void *arg)
{
    struct connecting *c = arg;
    return coil_open_connection(c->url->host, c->url->port, c->stream);
}

static int new_reply(coil_http_session *s, coil_http_reply **reply)
{
    coil_http_reply *r = calloc(1, sizeof *r);
    if (!r)
        return coil_raise(-ENOMEM, NULL);
    int rc =
        coil__http_head_init(&r->head, COIL__HTTP_RESPONSE, 0, s->options.header_bytes_max, s->options.headers_max);
    if (rc < 0) {
        free(r);
        return rc;
    }
    r->session = s;
    r->loop = coil_get_running_loop();
    r->input.read = coil__http_receive;
    coil__node_init(&r->node);
    *reply = r;
    return 0;
}

static int connect_new(coil_http_session *s, const coil__http_url *url, int64_t deadline, coil_http_reply **reply)
{
    coil_http_reply *r = NULL;
    COIL_TRY(new_reply(s, &r));
    struct connecting c = {url, &r->stream};
    int rc =
        s->mock ? 0 : coil__http_limited(deadline, s->options.connect_timeout_ns, "connecting", connect_stream, &c);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        free_reply(r);
        return coil_raise_error(error);
    }
    *reply = r;
    return 0;
}

static int acquire(void *slots)
{
    return coil_semaphore_acquire(slots);
}

static int take(coil_http_session *s, coil__http_host *h, const coil__http_url *url, bool fresh, int64_t deadline,
                coil_http_reply **reply)
{
    if (h->slots)
        COIL_TRY(coil__http_limited(deadline, COIL_FOREVER, "waiting for a connection", acquire, h->slots));
    coil_http_reply *r = fresh || s->mock ? NULL : take_idle(s, h, coil_loop_time(coil_get_running_loop()));
    int rc = r ? 0 : connect_new(s, url, deadline, &r);
    if (rc < 0) {
        if (h->slots)
            (void)coil_semaphore_release(h->slots); /* fails for bounded ones only */
        return rc;
    }
    r->has_slot = h->slots != NULL;
    *reply = r;
    return 0;
}

int coil__http_pool_take(coil_http_session *s, coil__http_url *url, bool fresh, int64_t deadline,
                         coil_http_reply **reply)
{
    coil_http_reply *r;
    coil__http_host *h = host_of(s, url->origin);
    if (!h)
        return coil_raise(-ENOMEM, NULL);
    int rc = take(s, h, url, fresh, deadline, &r);
    if (rc < 0) {
        leave_host(s, h);
        return rc;
    }
    r->host = h;
    r->url = *url;
    r->deadline = deadline;
    r->answered = r->listening = r->broken = false;
    *url = (coil__http_url){0};
    *reply = r;
    return 0;
}

/* --- the end of a session ------------------------------------------------------------------------------- */

size_t coil_http_session_idle(coil_http_session *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->idle_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void coil_http_session_set_mock(coil_http_session *s, coil_http_mock *mock)
{
    s->mock = mock;
}

void coil_http_session_free(coil_http_session *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    for (const coil__http_host *h = s->hosts; h; h = h->next)
        coil_assert(h->users == 0); /* a reply is still in use */
    if (s->janitor_task)
        coil_task_cancel(s->janitor_task, NULL); /* I1 */
    pthread_mutex_unlock(&s->lock);
    clean(s, 0, true);
    release(s);
}
