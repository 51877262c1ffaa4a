/*
 * list.h - intrusive lists
 *
 * coil__list: doubly linked, circular through its head; nodes can leave from anywhere in O(1), and a whole list can
 * be appended to another in O(1). A node that is in no list points to itself (I1), so that leaving twice is harmless.
 */
#ifndef COIL_BASE_LIST_H
#define COIL_BASE_LIST_H

#include "assert.h"

typedef struct coil__node {
    struct coil__node *next, *prev;
} coil__node;

typedef struct coil__list {
    coil__node head;
} coil__list;

static inline void coil__node_init(coil__node *n)
{
    n->next = n->prev = n;
}

static inline bool coil__node_linked(const coil__node *n)
{
    return n->next != n;
}

static inline void coil__list_init(coil__list *l)
{
    coil__node_init(&l->head);
}

static inline bool coil__list_empty(const coil__list *l)
{
    return l->head.next == &l->head;
}

static inline coil__node *coil__list_first(const coil__list *l)
{
    return l->head.next;
}

static inline coil__node *coil__list_last(const coil__list *l)
{
    return l->head.prev;
}

static inline void coil__list_append(coil__list *l, coil__node *n)
{
    coil__node *last = l->head.prev;
    n->prev = last;
    n->next = &l->head;
    last->next = n;
    l->head.prev = n;
}

static inline void coil__list_prepend(coil__list *l, coil__node *n)
{
    coil__node *first = l->head.next;
    n->next = first;
    n->prev = &l->head;
    first->prev = n;
    l->head.next = n;
}

static inline void coil__node_unlink(coil__node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    coil__node_init(n); /* I1 */
}

/* The first node, unlinked; the list must not be empty. */
static inline coil__node *coil__list_pop(coil__list *l)
{
    coil__node *n = l->head.next;
    coil_debug_assert(n != &l->head);
    l->head.next = n->next;
    n->next->prev = &l->head;
    coil__node_init(n); /* I1 */
    return n;
}

/* Appends all of @from to @to, in order; @from is empty afterwards. */
static inline void coil__list_splice(coil__list *to, coil__list *from)
{
    if (coil__list_empty(from))
        return;
    coil__node *first = from->head.next, *last = from->head.prev, *end = to->head.prev;
    end->next = first;
    first->prev = end;
    last->next = &to->head;
    to->head.prev = last;
    coil__list_init(from);
}

#define coil__list_foreach_safe(list, it, tmp) \
    for (coil__node *it = (list)->head.next, *tmp = it->next; it != &(list)->head; it = tmp, tmp = it->next)

#endif
